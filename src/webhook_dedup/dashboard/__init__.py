"""The pages of an app: what arrived, what was skipped and why, what waits, what died.

Usage::

    app.mount("/webhook-dedup", dashboard(dedup, auth=os.environ["DASHBOARD_TOKEN"]))
"""

from __future__ import annotations

from ..errors import MissingExtra

try:
    from .app import dashboard
    from .auth import Auth, Loopback, Role, Tokens
except ModuleNotFoundError as error:
    raise MissingExtra(f"the pages of the dashboard ({error.name})", "dashboard") from error

__all__ = ["Auth", "Loopback", "Role", "Tokens", "dashboard"]

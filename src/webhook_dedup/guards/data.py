"""The JSON that guards look into by a JMESPath."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError

__all__ = ["need_json"]

_JSON = (dict, list, str, int, float, type(None))


def need_json(data: Any, what: str, remedy: str = "hand the function its JSON first") -> Any:
    """Return data in which a JMESPath may find something.

    Raises:
        ConfigError: It is an object, in which ``what`` would silently find nothing.
    """
    if isinstance(data, _JSON):
        return data
    raise ConfigError(
        f"{what} is a JMESPath, which finds nothing in a {type(data).__name__}; {remedy}"
    )

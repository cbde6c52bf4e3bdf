"""Requests of endpoints, also those whose body was read before."""

from __future__ import annotations

from typing import Any

from .errors import RejectedDelivery
from .providers import Parsed
from .providers.forms import Form

__all__ = ["BodyGone", "Consumed", "read"]


class BodyGone(RejectedDelivery):
    """What was asked for needs the body of a request, and that is gone.

    It passes wherever a body that cannot be read does, so that ``FirstOf`` goes on to its next
    choice. In the end it is no fault of the sender's: who reads requests makes it a
    :class:`ConfigError`.
    """

    def __init__(self) -> None:
        super().__init__(
            500,
            "body_gone",
            "@deduplicate needs the request's body, which was read before and not kept, as FastAPI "
            "does for Form() and File() parameters: find the id with event_id='form:…' or "
            "'header:…', or declare the request alone and await request.form() in the function",
        )


class Consumed(Parsed):
    """A request of whose body nothing is left but the form it was read as.

    Args:
        headers, method: As of :class:`Parsed`.
        form: The form, ``None`` where that is gone as well.
    """

    __slots__ = ()

    def __init__(self, headers: Any, method: str, form: Form | None) -> None:
        super().__init__(headers, b"", method=method)
        self._form = form

    @property
    def body(self) -> bytes:
        """Nothing.

        Raises:
            BodyGone: Always.
        """
        raise BodyGone

    @property
    def kept_body(self) -> None:
        """Nothing."""
        return None


async def read(request: Any) -> Parsed:
    """Read a Starlette or FastAPI request, or what was kept of it."""
    headers, method = request.scope["headers"], request.method
    try:
        return Parsed(headers, await request.body(), method=method)
    except RuntimeError as exc:
        if not _tells_of_consumption(exc):
            raise
        return Consumed(headers, method, await _form_of(request))


def _tells_of_consumption(error: RuntimeError) -> bool:
    """Whether Starlette raised this for a body that was read before: that has no class."""
    return str(error) == "Stream consumed"


async def _form_of(request: Any) -> Form | None:
    try:
        fields = await request.form()  # kept by the request since it was first asked for
    except RuntimeError as exc:
        if not _tells_of_consumption(exc):
            raise
        return None
    form: Form = {}
    for name, value in fields.multi_items():
        if isinstance(value, str):  # uploaded files are left out, as everywhere
            form.setdefault(name, []).append(value)
    return form

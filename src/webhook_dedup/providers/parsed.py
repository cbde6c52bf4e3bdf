"""One request as schemes and extractors see it: raw bytes first, parsed on demand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from ..errors import RejectedDelivery
from .encodings import MOST_UNPACKED, BadEncoding, HoldsTooMuch, unpacked
from .forms import Form, MalformedForm, read_form

__all__ = ["Headers", "Parsed", "is_header_name", "only", "raw_headers", "shown"]

RawHeaders = Sequence[tuple[bytes, bytes]]
Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

_UNREAD = object()
_SHOWN = 100
_MOST_PARAMETERS = 1_000
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 section 5.6.2

Text = TypeVar("Text", str, bytes)


@dataclass(frozen=True, slots=True)
class _Broken:
    """Remembers why a body could not be read, without the traceback that an exception drags."""

    status: int
    code: str
    detail: str


class Parsed:
    """One request. JSON and form are parsed when first asked for, and once.

    Args:
        headers: Raw pairs in the order they came. Names are compared case-insensitively.
        body: The exact bytes.
        method: The HTTP method.
        url: The public URL the sender called, for schemes that sign it; a function makes it when it
            is asked for.
        query: The raw query string, for handshakes that ask in it.
        most: Bytes that a packed body may hold.
    """

    __slots__ = (
        "_body",
        "_by_name",
        "_form",
        "_json",
        "_most",
        "_url",
        "headers",
        "method",
        "query",
    )

    def __init__(
        self,
        headers: RawHeaders,
        body: bytes,
        *,
        method: str = "POST",
        url: str | Callable[[], str] | None = None,
        query: bytes = b"",
        most: int = MOST_UNPACKED,
    ) -> None:
        self.headers = headers
        self._body = body
        self.method = method
        self._url = url
        self.query = query
        self._most = most
        self._by_name: Mapping[bytes, bytes | list[bytes]] | None = None
        self._json: object = _UNREAD
        self._form: Form | _Broken | None = None

    @property
    def body(self) -> bytes:
        """The exact bytes."""
        return self._body

    @property
    def kept_body(self) -> bytes | None:
        """The exact bytes, ``None`` where they were read before and not kept."""
        return self._body

    @property
    def url(self) -> str | None:
        """The public URL the sender called, if it is known."""
        if callable(self._url):
            self._url = self._url()
        return self._url

    def header_values(self, name: str) -> list[bytes]:
        """Return every value of a header in the order they came."""
        if self._by_name is None:
            self._by_name = _by_name(self.headers)
        found = self._by_name.get(name.lower().encode("latin-1"), ())
        return [found] if isinstance(found, bytes) else list(found)

    def header(self, name: str) -> str | None:
        """Return the value of a header, or ``None`` if it is absent.

        Raises:
            RejectedDelivery: It came several times with different values (400).
        """
        values = self.header_values(name)
        alone = len(values) == 1
        value = values[0] if alone else only(values, "ambiguous_header", f"the header {name}")
        return None if value is None else value.decode("latin-1").strip(" \t")

    def query_values(self, name: str) -> list[str]:
        """Return every value of a query parameter, decoded, in the order they came.

        Raises:
            RejectedDelivery: There are more than 1,000 parameters (400).
        """
        if self.query.count(b"&") >= _MOST_PARAMETERS:
            detail = f"the query has more than {_MOST_PARAMETERS:,} parameters"
            raise RejectedDelivery(400, "malformed_query", detail)
        pairs = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True)
        return [value for found, value in pairs if found == name]

    def query_value(self, name: str) -> str | None:
        """Return the value of a query parameter, or ``None`` if it is absent.

        Raises:
            RejectedDelivery: It came several times with different values (400).
        """
        return only(self.query_values(name), "ambiguous_query", f"the parameter {shown(name)}")

    @property
    def content_type(self) -> str:
        """What the sender called the body; empty if it said nothing."""
        return b", ".join(self.header_values("Content-Type")).decode("latin-1")

    @property
    def content_encoding(self) -> str:
        """How the sender packed the body; empty if it said nothing."""
        return b", ".join(self.header_values("Content-Encoding")).decode("latin-1")

    def json(self) -> Any:
        """Return the body as JSON, unpacked if it came as gzip.

        Raises:
            RejectedDelivery: It is not JSON (400), or unpacks to too much (413).
        """
        if self._json is _UNREAD:
            self._json = self._read_json()
        return _whole(self._json)

    def form(self) -> Form:
        """Return the fields of an urlencoded or multipart body, each with all its values.

        Raises:
            RejectedDelivery: The body is malformed (400) or no form at all (415).
        """
        if self._form is None:
            self._form = self._read_form()
        form: Form = _whole(self._form)
        return form

    def form_value(self, name: str) -> str | None:
        """Return the value of a form field, or ``None`` if it is absent.

        Raises:
            RejectedDelivery: It came several times with different values (400), or there is no form
                to read.
        """
        values = self.form().get(name, ())
        return only(values, "ambiguous_field", f"the form field {shown(name)}")

    def _read_json(self) -> object:
        try:
            return json.loads(unpacked(self.content_encoding, self.body, self._most))
        except HoldsTooMuch as exc:
            return _Broken(413, "body_too_large", f"the body is too large: {exc}")
        except (ValueError, RecursionError) as exc:
            detail = f"the body is not JSON: {_json_fault(exc, self.body)}; it came {self._label()}"
            return _Broken(400, "malformed_json", detail)

    def _read_form(self) -> Form | _Broken:
        content_type = self.header("Content-Type") or ""
        try:
            form = read_form(content_type, self.body)
        except MalformedForm as exc:
            return _Broken(400, "malformed_form", f"the form cannot be read: {exc}")
        if form is None:
            expected = "application/x-www-form-urlencoded or multipart/form-data"
            detail = f"the body must be a form ({expected}); it came {self._label()}"
            return _Broken(415, "unsupported_media_type", detail)
        return form

    def _label(self) -> str:
        content_type = self.content_type
        return f"as {shown(content_type)}" if content_type else "without a content type"


def _by_name(headers: RawHeaders) -> Mapping[bytes, bytes | list[bytes]]:
    """Return headers by their names in lower case; those that came several times as lists."""
    alone: dict[bytes, Any] = dict(headers)
    names = b"".join(alone)
    if len(alone) == len(headers) and names == names.lower():  # as nearly always
        return alone
    several: dict[bytes, Any] = {}
    for name, value in headers:
        several.setdefault(name.lower(), []).append(value)
    return several


def raw_headers(headers: Headers) -> RawHeaders:
    """Return headers as pairs of bytes. Text outside latin-1 is escaped: no header carries it."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(_raw(name), _raw(value)) for name, value in pairs]


def is_header_name(name: str) -> bool:
    """Whether HTTP allows a header of this name."""
    return _HEADER_NAME.fullmatch(name) is not None


def only(values: Iterable[Text], code: str, what: str) -> Text | None:
    """Return the one value that all are equal to, or ``None`` if there is none.

    Raises:
        RejectedDelivery: They differ (400, ``code``).
    """
    distinct = set(values)
    if len(distinct) > 1:
        raise RejectedDelivery(400, code, f"{what} came with {len(distinct)} different values")
    return distinct.pop() if distinct else None


def shown(text: str) -> str:
    """Return foreign text quoted, escaped and short enough for a log line."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _raw(text: str | bytes) -> bytes:
    return text.encode("latin-1", "backslashreplace") if isinstance(text, str) else text


def _whole(value: Any) -> Any:
    if isinstance(value, _Broken):
        raise RejectedDelivery(value.status, value.code, value.detail)
    return value


def _json_fault(exc: Exception, body: bytes) -> str:
    if not body.strip():
        return "it is empty"
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg} at line {exc.lineno}, column {exc.colno}"
    if isinstance(exc, UnicodeDecodeError):
        return f"invalid {exc.encoding} at byte {exc.start}"
    if isinstance(exc, BadEncoding):
        return str(exc)
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    return "a number in it is too long"

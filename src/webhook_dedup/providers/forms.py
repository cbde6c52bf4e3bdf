"""Form bodies, urlencoded and multipart, read within bounds."""

from __future__ import annotations

import binascii
import re
from itertools import islice

from python_multipart.multipart import MultipartParser, parse_options_header

__all__ = ["Form", "MalformedForm", "read_form"]

Form = dict[str, list[str]]

_MAX_FIELDS = 1_000
_MAX_DAMAGED = 1_000
_DAMAGED = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class MalformedForm(ValueError):
    """A form body cannot be read. The message says why and quotes nothing of it."""


def read_form(content_type: str, body: bytes) -> Form | None:
    """Return the fields of a form body, or ``None`` if the content type names no form.

    Uploaded files are left out.

    Raises:
        MalformedForm: The body, or the content type's boundary, is malformed.
    """
    kind, options = parse_options_header(content_type)
    kind = kind.lower()  # older python-multipart leaves it as it came
    if kind == b"application/x-www-form-urlencoded":
        return _read_urlencoded(body)
    if kind == b"multipart/form-data":
        return _read_multipart(options.get(b"boundary", b""), body)
    return None


def _read_urlencoded(body: bytes) -> Form:
    if body.count(b"&") >= _MAX_FIELDS:
        raise _too_many_fields()
    form: Form = {}
    try:
        body.decode()  # what is not escaped must be text by itself
        for pair in filter(None, body.split(b"&")):
            name, _, value = pair.partition(b"=")
            form.setdefault(_text(name), []).append(_text(value))
    except UnicodeDecodeError:
        raise _not_utf8() from None
    return form


def _text(escaped: bytes) -> str:
    """Return a name or a value as text; escapes that are none stay, as they do in ``urllib``.

    That one takes a microsecond and a hundred bytes of memory for each escape, and a body of 25 MiB
    that nobody has signed yet may consist of them. Quoted-printable is the same but for the sign,
    and is read in C.
    """
    spaced = escaped.replace(b"+", b" ")
    if b"%" not in spaced:
        return spaced.decode()
    if len(list(islice(_DAMAGED.finditer(spaced), _MAX_DAMAGED + 1))) > _MAX_DAMAGED:
        raise MalformedForm(f"it has more than {_MAX_DAMAGED} escapes that are none")
    whole = _DAMAGED.sub(b"%25", spaced)
    return binascii.a2b_qp(whole.replace(b"=", b"=3D").replace(b"%", b"=")).decode()


def _read_multipart(boundary: bytes, body: bytes) -> Form:
    if not boundary:
        raise MalformedForm("the content type names no boundary")
    parts = _Parts()
    try:
        MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.end_header,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_end": parts.finish,
            },
        ).write(body)
    except MalformedForm:
        raise
    except ValueError:
        raise MalformedForm("the multipart body is malformed") from None
    if not parts.finished:
        raise MalformedForm("the multipart body ends before its last boundary")
    return parts.form


def _too_many_fields() -> MalformedForm:
    return MalformedForm(f"it has more than {_MAX_FIELDS} fields")


def _not_utf8() -> MalformedForm:
    return MalformedForm("it is not UTF-8 text")


class _Parts:
    """Collects the text fields of a multipart body as the parser walks through it."""

    def __init__(self) -> None:
        self.form: Form = {}
        self.finished = False
        self._count = 0
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._data = bytearray()

    def begin(self) -> None:
        self._count += 1
        if self._count > _MAX_FIELDS:
            raise _too_many_fields()
        self._disposition = b""
        self._data = bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MalformedForm("a part has no name")
        if b"filename" in options:
            return
        try:
            name, value = options[b"name"].decode(), self._data.decode()
        except UnicodeDecodeError:
            raise _not_utf8() from None
        self.form.setdefault(name, []).append(value)

    def finish(self) -> None:
        self.finished = True

"""Hostile changes to deliveries: of bytes, of headers, of JSON, and of what base64 hides."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from webhook_dedup.providers import Parsed

__all__ = ["Mutator"]

ODD_BYTES = (
    b"\x00",
    b"\xff",
    b"\r\n",
    b" ",
    b"=",
    b",",
    b"%",
    b"%ff",
    b"&",
    b'"',
    b"{",
    b"[" * 1_000,
    b"9" * 5_000,
    b"-1",
    b"1e999",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"v1,",
    b"v1a,",
    b"t=",
    b"..",
    "é".encode(),
    b"NaN",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    float("nan"),
    "",
    " ",
    "\ud800",
    "\x00",
    "a\nb",
    [],
    {},
    ["x"],
    {"a": "b"},
    "x" * 2_000,
    "https://evil.example/",
)
ODD_TYPES = (
    b"application/x-www-form-urlencoded",
    b"application/x-www-form-urlencoded; charset=\xff",
    b"multipart/form-data; boundary=b",
    b"multipart/form-data",
    b"application/json",
    b"",
    b"\xff" * 50,
)


class Mutator:
    """Makes changed copies of deliveries from one stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._changes: tuple[Callable[[Parsed], Parsed], ...] = (
            self._in_a_header,
            self._in_a_header,
            self._in_the_body,
            self._in_the_body,
            self._in_the_url,
            self._headers_shuffled,
            self._content_type,
            self._json_in_the_body,
            self._json_in_the_body,
            self._json_in_a_header,
            self._longer,
        )

    def mutate(self, message: Parsed) -> Parsed:
        """Return a copy with one to three changes."""
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            message = self.random.choice(self._changes)(message)
        return message

    def bytes(self, data: bytes) -> bytes:
        """Return bytes with a bit, a byte or a stretch changed, added or lost."""
        start = self.random.randrange(len(data) + 1)
        end = min(len(data), start + self.random.choice((0, 1, 1, 2, 8, 64)))
        kind = self.random.randrange(5)
        if kind == 0 and data:
            at = self.random.randrange(len(data))
            bit = bytes([data[at] ^ (1 << self.random.randrange(8))])
            return data[:at] + bit + data[at + 1 :]
        if kind == 1:
            return data[:start] + data[end:]
        if kind == 2:
            return data[:start] + data[start:end] * 2 + data[end:]
        if kind == 3:
            return data[:start] + self.random.randbytes(end - start) + data[end:]
        return data[:start] + self.random.choice(ODD_BYTES) + data[end:]

    def _in_a_header(self, message: Parsed) -> Parsed:
        headers = list(message.headers)
        if headers:
            at = self.random.randrange(len(headers))
            name, value = headers[at]
            headers[at] = (name, self.bytes(value))
        return _copy(message, headers=headers)

    def _in_the_body(self, message: Parsed) -> Parsed:
        return _copy(message, body=self.bytes(message.body))

    def _in_the_url(self, message: Parsed) -> Parsed:
        if self.random.randrange(10) == 0:
            return _copy(message, url=None)
        url = self.bytes((message.url or "https://example.com/").encode("utf-8", "surrogatepass"))
        return _copy(message, url=url.decode("latin-1"), query=self.bytes(message.query))

    def _headers_shuffled(self, message: Parsed) -> Parsed:
        headers = list(message.headers) or [(b"x", b"y")]
        at, other = (self.random.randrange(len(headers)) for _ in range(2))
        kind = self.random.randrange(4)
        if kind == 0:
            del headers[at]
        elif kind == 1:
            headers.append((headers[at][0].upper(), self.bytes(headers[at][1])))
        elif kind == 2:
            headers[at] = (headers[at][0], headers[other][1])
        else:
            headers.append(headers[at])
        return _copy(message, headers=headers)

    def _content_type(self, message: Parsed) -> Parsed:
        headers = [pair for pair in message.headers if pair[0].lower() != b"content-type"]
        headers.append((b"Content-Type", self.random.choice(ODD_TYPES)))
        return _copy(message, headers=headers)

    def _json_in_the_body(self, message: Parsed) -> Parsed:
        return _copy(message, body=self._json(message.body))

    def _json_in_a_header(self, message: Parsed) -> Parsed:
        """Change a part of a JWT, and encode it again."""
        headers = list(message.headers)
        for at, (name, value) in enumerate(headers):
            parts = value.split(b".")
            if len(parts) == 3:
                which = self.random.randrange(2)
                padded = parts[which] + b"=" * (-len(parts[which]) % 4)
                try:
                    text = base64.urlsafe_b64decode(padded)
                except ValueError:
                    continue
                parts[which] = base64.urlsafe_b64encode(self._json(text)).rstrip(b"=")
                headers[at] = (name, b".".join(parts))
        return _copy(message, headers=headers)

    def _json(self, text: bytes) -> bytes:
        try:
            document = json.loads(text)
            places = list(_places(document))
            if not places:
                return json.dumps(self.random.choice(ODD_VALUES)).encode()
            container, key = self.random.choice(places)
            if self.random.randrange(4) == 0:
                del container[key]
            else:
                container[key] = self.random.choice(ODD_VALUES)
            return json.dumps(document).encode()
        except (ValueError, RecursionError):
            return self.bytes(text)

    def _longer(self, message: Parsed) -> Parsed:
        """Blow one thing up, to see whether time grows faster than size."""
        times = self.random.choice((10, 100, 1_000))
        if self.random.randrange(2) or not message.headers:
            start = self.random.randrange(len(message.body) + 1)
            piece = message.body[start : start + 20] or b"["
            body = message.body[:start] + piece * times + message.body[start:]
            return _copy(message, body=body)
        headers = list(message.headers)
        at = self.random.randrange(len(headers))
        name, value = headers[at]
        glue = self.random.choice((b"", b" ", b",", b";", b"."))
        headers[at] = (name, glue.join([value[:400]] * min(times, 100)))
        return _copy(message, headers=headers)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            found = list(node.items())
        elif isinstance(node, list):
            found = list(enumerate(node))
        else:
            continue
        for key, value in found:
            yield node, key
            pending.append(value)


def _copy(message: Parsed, **changes: Any) -> Parsed:
    parts = {"url": message.url, "query": message.query, "method": message.method, **changes}
    headers, body = parts.pop("headers", message.headers), parts.pop("body", message.body)
    return Parsed(headers, body, **parts)

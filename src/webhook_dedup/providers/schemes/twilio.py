"""Twilio: https://www.twilio.com/docs/usage/security."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from ..parsed import Parsed
from .digests import any_match, hmac_digest
from .keys import exact_key
from .reading import form_fields, is_urlencoded, public_url, signature_header
from .refusals import check_digest, malformed, mismatch

__all__ = ["TwilioSignature"]

_ORIGIN = re.compile(
    rb"(?P<scheme>https?)://(?P<user>[^/?#@]*@)?(?P<host>\[[^]/?#]*\]|[^/?#:@]*)(?P<port>:[0-9]+)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {b"https": b":443", b"http": b":80"}
_BODY_HASH = re.compile(rb"[?&]bodySHA256=([^&#]*)")
_BROWSER_ESCAPES = str.maketrans({"'": "%27", '"': "%22", "<": "%3C", ">": "%3E", " ": "%20"})
_KEPT_IN_OLD_QUERIES = "!'()*-._~"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioSignature:
    """HMAC-SHA1 over the URL and the form fields, sorted by name.

    A body that is no form is covered by its SHA-256 in the URL, as ``bodySHA256``; any other body
    is refused. Twilio does not always sign the URL that it calls, so this tries the spellings that
    its own libraries try: with and without the port, and the query as it came, as a browser
    writes it, and as older senders do.
    """

    signs_url: ClassVar[bool] = True

    header: str = "X-Twilio-Signature"

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is signed
        candidate = signature_header(message, self.header)
        check_digest(candidate, self.header, "sha1", "base64")
        fields = _fields(message)
        texts = [url + fields for url in _spellings(public_url(message))]
        expected = (_digest(secret, text) for secret in secrets for text in texts)
        if not any_match([candidate], expected):
            raise mismatch(self.header, "URL and body")

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is signed
        return {self.header: _digest(secret, public_url(message) + _fields(message)).decode()}


def _digest(secret: bytes, signed: bytes) -> bytes:
    return hmac_digest(secret, signed, "sha1", "base64")


def _fields(message: Parsed) -> bytes:
    """Return the signed form of the body's fields, having made sure that all of it is covered."""
    form = form_fields(message) if is_urlencoded(message) else {}
    if not form:
        _check_body_hash(message)
    fields = (name + value for name in sorted(form) for value in sorted(set(form[name])))
    return "".join(fields).encode()


def _check_body_hash(message: Parsed) -> None:
    sent = _BODY_HASH.search(public_url(message))
    if sent is None and message.body:
        raise malformed("only a form, or a body whose bodySHA256 is in the URL, is signed")
    digest = hashlib.sha256(message.body).hexdigest().encode()
    if sent is not None and not hmac.compare_digest(unquote_to_bytes(sent.group(1)), digest):
        raise mismatch("bodySHA256 in the URL")


def _spellings(url: bytes) -> list[bytes]:
    """Return the URLs that Twilio may have signed for this one, each once."""
    origin = _ORIGIN.match(url)
    if origin is None:
        return [url]
    rest = url[origin.end() :]
    bare = origin["scheme"] + b"://" + (origin["user"] or b"") + origin["host"]
    port = origin["port"] or _DEFAULT_PORTS[origin["scheme"].lower()]
    return list(dict.fromkeys(head + tail for head in (bare, bare + port) for tail in _tails(rest)))


def _tails(rest: bytes) -> list[bytes]:
    path, mark, query = rest.partition(b"?")
    if not query:
        return [rest]
    text = query.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    old = "&".join(f"{_requoted(name)}={_requoted(value)}" for name, value in pairs)
    browser = text.translate(_BROWSER_ESCAPES)
    return [path + mark + one.encode("utf-8", "surrogateescape") for one in (text, browser, old)]


def _requoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe=_KEPT_IN_OLD_QUERIES)

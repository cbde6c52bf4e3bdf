"""Amazon SNS: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ConfigError, SignatureError
from ..parsed import Parsed
from ..times import parse_time
from .asymmetric import RsaHash
from .certificates import SignedText, check_signers, load_named, sign_text, split_named
from .fetching import KeyCache, fetch_https
from .keyfiles import Certificate, read_certificate
from .options import check_tolerance
from .reading import canonical_base64, json_body, utf8
from .refusals import check_time, malformed, missing

__all__ = ["REGION", "SnsSignature"]

REGION = r"[a-z]{2,4}(-[a-z]{2,20}){1,2}-[0-9]{1,2}"

_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]{1,40}:[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
_CERTIFICATE_URL = re.compile(
    # A region and nothing else: at sns.s3-us-west-2.amazonaws.com the owner of a bucket answers.
    # The same hosts answer API calls, so that the path must be a certificate's, too.
    rf"https://sns\.{REGION}\.amazonaws\.com(\.cn)?"
    r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem"
)
_HASHES: dict[str, RsaHash] = {"1": "sha1", "2": "sha256"}
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SUBSCRIPTION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _SUBSCRIPTION,
    "UnsubscribeConfirmation": _SUBSCRIPTION,
}
_OPTIONAL, _MULTILINE = "Subject", "Message"
_ECHOES = {
    "x-amz-sns-message-id": "MessageId",
    "x-amz-sns-message-type": "Type",
    "x-amz-sns-topic-arn": "TopicArn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsSignature:
    """RSA signatures in the body, of version 1 (SHA-1) and 2 (SHA-256).

    The signature proves that SNS sent the message, and anybody can make SNS send: so the secret of
    a source is the ARN of its topic, which nobody else can publish to. Several are an allow-list.
    A private key in PEM on the lines after the ARN signs and verifies in place of the certificate
    that SNS publishes, for tests.

    The headers that repeat what the body says must say the same.

    Attributes:
        fetch_certificate: Returns the certificate at a URL, in PEM; asked for genuine URLs only.
        versions: Signature versions that are accepted.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for
            any: SNS documents no bound, and never sends again what was refused with a 4xx.
    """

    fetch_certificate: Callable[[str], bytes] = fetch_https
    versions: tuple[str, ...] = ("1", "2")
    tolerance: float | None = None
    _certificates: KeyCache[Certificate] = field(
        default_factory=KeyCache, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)
        if not self.versions or not set(self.versions) <= _HASHES.keys():
            raise ConfigError(f"versions must name one of {', '.join(_HASHES)}")

    def load_secret(self, secret: str | bytes) -> bytes:
        looks = "the ARN of the topic, arn:aws:sns:<region>:<account>:<topic>"
        return load_named(secret, _ARN.fullmatch, looks)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        notice = _read(message)
        signed = self._signed(notice)
        pinned = _keys_for(notice, secrets)
        certificates = [key for key in pinned if key is not None]
        if None in pinned:
            certificates.append(self._certificate(notice))
        signers = [one for one in certificates if signed.is_signed_by(one)]
        check_signers(signers, now, "Signature in the body")
        self._check_time(notice, now)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - the time is in the body
        notice = _read(message)
        return {header: notice[name] for header, name in _ECHOES.items()}

    def seal(self, message: Parsed, secret: bytes, now: float) -> bytes:
        """As the protocol says; a missing time, topic and certificate URL are filled in."""
        notice = json_body(message)
        if not isinstance(notice, dict):
            raise malformed("an SNS body is a JSON object with Type, MessageId and Message")
        stamp = dt.datetime.fromtimestamp(now, dt.timezone.utc).isoformat(timespec="milliseconds")
        sealed = {
            "Type": "Notification",
            "TopicArn": split_named(secret)[0].decode(),
            "Timestamp": stamp.replace("+00:00", "Z"),
            "SignatureVersion": self.versions[-1],
            "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
            **notice,
        }
        algorithm = self._algorithm(sealed["SignatureVersion"])
        signature = sign_text(secret, _text(_checked(sealed)), algorithm)
        sealed["Signature"] = base64.b64encode(signature).decode()
        return json.dumps(sealed).encode()

    def lacks(self, message: Parsed, secrets: Sequence[bytes]) -> bool:
        try:
            notice = _read(message)
            needed = None in _keys_for(notice, secrets)
            return needed and self._certificates.peek(_certificate_url(notice)) is None
        except SignatureError:
            return False  # refused without a certificate

    def fetch(self, message: Parsed, secrets: Sequence[bytes]) -> None:
        notice = _read(message)
        if None in _keys_for(notice, secrets):
            self._certificate(notice)

    def _signed(self, notice: dict[str, str]) -> SignedText:
        algorithm = self._algorithm(notice["SignatureVersion"])
        signature = canonical_base64(notice["Signature"].encode("ascii", "replace"), "Signature")
        return SignedText(_text(notice), signature, algorithm)

    def _algorithm(self, version: str) -> RsaHash:
        if version not in self.versions:
            raise malformed(f"SignatureVersion must be {' or '.join(self.versions)}")
        return _HASHES[version]

    def _certificate(self, notice: dict[str, str]) -> Certificate:
        url = _certificate_url(notice)
        return self._certificates.get(url, lambda: read_certificate(self.fetch_certificate(url)))

    def _check_time(self, notice: dict[str, str], now: float) -> None:
        if self.tolerance is None:
            return
        signed_at = parse_time(notice["Timestamp"])
        if signed_at is None:
            raise malformed("Timestamp must be an RFC 3339 time")
        check_time(signed_at, now, self.tolerance)


def _read(message: Parsed) -> dict[str, str]:
    """Return the body's fields, having made sure that they are all there."""
    notice = _checked(json_body(message))
    for name in ("Signature", "SignatureVersion", "SigningCertURL"):
        if not isinstance(notice.get(name), str):
            raise missing(f"the body has no {name}; is raw message delivery on?")
    for header, name in _ECHOES.items():
        if any(value != utf8(notice[name], name) for value in message.header_values(header)):
            raise malformed(f"{header} and {name} in the body differ")
    return notice


def _checked(notice: Any) -> dict[str, str]:
    kind = notice.get("Type") if isinstance(notice, dict) else None
    if not isinstance(kind, str) or kind not in _SIGNED:
        raise missing("the body is no SNS message; is raw message delivery on?")
    for name in _SIGNED[kind]:
        value = notice.get(name)
        if value is None and name == _OPTIONAL:
            continue
        if not isinstance(value, str):
            raise malformed(f"{name} must be text")
        if "\n" in value and name != _MULTILINE:
            # Values end at a line's end: a second line could pass for another field.
            raise malformed(f"{name} must be one line")
    checked: dict[str, str] = notice
    return checked


def _text(notice: dict[str, str]) -> bytes:
    names = [name for name in _SIGNED[notice["Type"]] if notice.get(name) is not None]
    return b"".join(utf8(f"{name}\n{notice[name]}\n", name) for name in names)


def _keys_for(notice: dict[str, str], secrets: Sequence[bytes]) -> list[Certificate | None]:
    """Return the key given for the topic with each secret; ``None`` stands for SNS's own."""
    named = [split_named(secret) for secret in secrets]
    keys = [key for arn, key in named if arn == notice["TopicArn"].encode("utf-8", "replace")]
    if not keys:
        detail = "the message is of a topic that this source does not take"
        raise SignatureError("signature_mismatch", detail)
    return keys


def _certificate_url(notice: dict[str, str]) -> str:
    url = notice["SigningCertURL"]
    if not _CERTIFICATE_URL.fullmatch(url):
        raise malformed("SigningCertURL is not the URL of a certificate of SNS")
    return url

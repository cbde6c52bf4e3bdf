"""One configured sender: what the user writes, checked when it is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from .errors import ConfigError, RejectedDelivery
from .model import Delivery, Event, Key, fingerprint_of
from .policy import Ack, Policy, check_choice
from .providers import (
    Expression,
    Parsed,
    Preset,
    SignatureScheme,
    compile_extractor,
    compile_lenient,
    compile_time,
    find_preset,
    load_secrets,
)
from .providers.schemes import Secrets

__all__ = ["Source", "stand_in_id"]

_PLACEHOLDER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Source:
    """One sender of webhooks.

    Args:
        preset: Name of a provider, or a :class:`Preset` of your own.
        path: Where its deliveries arrive, below the app's ``root_path``. ``{name}`` stands for one
            path segment; ``{tenant}`` also becomes part of the event's key.
        name: Distinguishes several sources of one preset; defaults to the preset's name. It is
            part of the key, so renaming a source forgets its events.
        secret: The signing secret, or several while one is being rotated.
        verify: ``False`` accepts unsigned deliveries of a preset that signs.
        signature: A signature scheme in place of the preset's.
        event_id: Where the event id is, in place of the preset's: ``"header:Name"``,
            ``"form:field"``, a JMESPath into the JSON body, or a function of the parsed request.
        event_type: Where the event type is, in the same notation.
        ack: When the sender gets its 200, in place of the preset's default.
        methods: HTTP methods that carry deliveries; others pass through to the app.
        policy: How events are treated, in place of the policy given to the middleware.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
    """

    def __init__(
        self,
        preset: str | Preset,
        *,
        path: str,
        name: str | None = None,
        secret: Secrets | None = None,
        verify: bool = True,
        signature: SignatureScheme | None = None,
        event_id: Expression | None = None,
        event_type: Expression | None = None,
        ack: Ack | None = None,
        methods: Iterable[str] = ("POST",),
        policy: Policy | None = None,
    ) -> None:
        self.preset = preset if isinstance(preset, Preset) else find_preset(preset)
        self.name = _checked_name(self.preset.name if name is None else name)
        self.path = path
        self.pattern = _compile_path(path, self.name)
        self.shape = _PLACEHOLDER.sub("{}", path)
        self.ack: Ack = self.preset.ack if ack is None else ack
        check_choice(self.ack, Ack, "ack")
        self.methods = _checked_methods(methods, self.name)
        self.policy = policy
        self._scheme = signature or self.preset.scheme
        optional = self.preset.secret_optional and signature is None
        self._secrets = self._load(secret, verify=verify, optional=optional)
        self._event_id = compile_extractor(self._id_expression(event_id))
        kind = event_type or self.preset.event_type
        self._event_type = compile_lenient(kind) if kind else None
        occurred_at = self.preset.occurred_at
        self._occurred_at = compile_time(occurred_at) if occurred_at else None

    def __repr__(self) -> str:
        return f"Source({self.preset.name!r}, name={self.name!r}, path={self.path!r})"

    @property
    def scope(self) -> str:
        """Who deduplicates: the first part of every key of this source."""
        return f"webhook:{self.name}"

    @property
    def signed(self) -> bool:
        """Whether deliveries must be signed."""
        return bool(self._secrets)

    def verify(self, parsed: Parsed, now: float) -> None:
        """Check the signature over the raw bytes.

        Raises:
            SignatureError: It is missing, malformed, wrong or too old.
        """
        if self._secrets and self._scheme is not None:
            self._scheme.verify(parsed, self._secrets, now)

    def identify(self, parsed: Parsed, delivery: Delivery, tenant: str, policy: Policy) -> Event:
        """Say which event a verified delivery announces.

        Raises:
            RejectedDelivery: It has no event id and the policy rejects that, or the id is unusable.
        """
        event_id = self._event_id(parsed)
        if event_id is None:
            event_id = stand_in_id(delivery.body, policy)
        keyless = event_id is None
        return Event(
            key=None if event_id is None else Key(self.scope, event_id, tenant),
            source=self.name,
            id=delivery.id if event_id is None else event_id,
            type=self._event_type(parsed) if self._event_type else None,
            occurred_at=self._occurred_at(parsed) if self._occurred_at else None,
            fingerprint=None if keyless else fingerprint_of(delivery.body),
            delivery=delivery,
        )

    def _load(self, secret: Secrets | None, *, verify: bool, optional: bool) -> tuple[bytes, ...]:
        if secret is not None and not verify:
            raise ConfigError(f"source {self.name!r} has a secret and verify=False; drop one")
        if secret is None:
            if verify and self._scheme is not None and not optional:
                raise ConfigError(
                    f"source {self.name!r} needs secret=… ({self.preset.secret_format}), "
                    "or an explicit verify=False to accept unsigned deliveries"
                )
            return ()
        if self._scheme is None:
            raise ConfigError(
                f"{self.preset.title} does not sign its deliveries, so source {self.name!r} "
                "takes no secret; pass signature=… if yours are signed"
            )
        try:
            return load_secrets(self._scheme, secret)
        except ConfigError as exc:
            raise ConfigError(f"source {self.name!r}: {exc}") from exc

    def _id_expression(self, event_id: Expression | None) -> Expression:
        expression = event_id if event_id is not None else self.preset.event_id
        if expression is None:
            raise ConfigError(
                f"source {self.name!r} needs event_id=…: 'header:X-Event-Id', 'form:field', "
                "a JMESPath into the JSON body such as 'id', or a function"
            )
        return expression


def stand_in_id(body: bytes | None, policy: Policy) -> str | None:
    """Answer by policy for a delivery without an event id; ``None`` runs it without a key.

    Raises:
        RejectedDelivery: The policy rejects it, or would hash a body that is empty: then every
            delivery would pass for a copy of the first.
    """
    if policy.on_missing_id == "process":
        return None
    if policy.on_missing_id == "hash_body" and body:
        return f"sha256:{hashlib.sha256(body).hexdigest()}"
    raise RejectedDelivery(
        400, "missing_event_id", "there is no event id where this source has its ids"
    )


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"source name {name!r} must be 1 to 64 letters, digits, '_', '.' or '-'")
    return name


def _checked_methods(methods: Iterable[str], name: str) -> frozenset[str]:
    checked = frozenset(method.upper() for method in methods)
    if isinstance(methods, str) or not checked:
        raise ConfigError(
            f"methods of source {name!r} must be a list such as ['POST'], got {methods!r}"
        )
    return checked


def _compile_path(path: object, name: str) -> re.Pattern[str]:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigError(
            f"path of source {name!r} must begin with '/', such as '/webhooks/{name}'; got {path!r}"
        )
    if "?" in path or "#" in path:
        raise ConfigError(f"path of source {name!r} must end before '?' and '#'; got {path!r}")
    parts = _PLACEHOLDER.split(path)
    literal, names = parts[::2], parts[1::2]
    if any("{" in part or "}" in part for part in literal) or len(set(names)) != len(names):
        raise ConfigError(
            f"path of source {name!r} may hold placeholders such as '{{tenant}}', each once; "
            f"got {path!r}"
        )
    regex = re.escape(literal[0])
    for placeholder, text in zip(names, literal[1:], strict=True):
        regex += f"(?P<{placeholder}>[^/]+){re.escape(text)}"
    return re.compile(regex)

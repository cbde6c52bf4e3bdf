"""One configured sender: what the user writes, checked when it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from .batch import with_body
from .errors import ConfigError
from .guards import Guard, Guards
from .identify import Identifier
from .model import Delivery, Event
from .policy import Ack, Policy, check_choice, check_policy, methods_of
from .providers import (
    Expression,
    Items,
    Parsed,
    Preset,
    SignatureScheme,
    compile_extractor,
    compile_items,
    compile_lenient,
    compile_subset,
    compile_time,
    find_preset,
    load_secrets,
)
from .providers.described import expression_text
from .providers.handshakes import Handshake, Reply, TokenHandshake
from .providers.schemes import FetchingScheme, Secrets
from .urls import checked_url, compile_path, shape_of

__all__ = ["Source"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Body = Literal["whole", "items"]
"""What a handler gets of a batch: its whole body, or one with the items it is to handle."""

Narrow = Callable[[Parsed, Delivery, Event], Delivery]
"""Leaves a delivery only the items of an event."""


class Source:
    """One sender of webhooks.

    Args:
        preset: Name of a provider, or a :class:`Preset` of your own.
        path: Where its deliveries arrive, below the app's ``root_path``. ``{name}`` stands for one
            path segment; ``{tenant}`` also becomes part of the event's key. Few senders sign the
            path, so that whoever knows the secret can send as each tenant.
        name: Distinguishes several sources of one preset; defaults to the preset's name. It is
            part of the key, so renaming a source forgets its events.
        secret: The signing secret, or several while one is being rotated.
        verify: ``False`` accepts unsigned deliveries of a preset that signs.
        signature: A signature scheme in place of the preset's.
        event_id: Where the event id is, in place of the preset's: ``"header:Name"``,
            ``"form:field"``, a JMESPath into the JSON body, or a function of the parsed request.
        event_type: Where the event type is, in the same notation.
        subject: Where it says what an event is about: a thread, an account.
        items: Where the events of a delivery are that brings several, such as ``"data.events"``,
            or ``"@"`` for a body that is an array. The expressions above then read one item.
        batch: ``"items"`` gives the handler a body that holds only the items it is to handle, in
            place of the exact bytes, whose signature no handler could check any more.
        public_url: What stands before ``path`` in the URL that the sender calls, such as
            ``"https://example.com"``, for senders that sign it. Without it the URL is put together
            from the request, which behind a proxy is another one.
        handshake: How the sender makes sure that this endpoint is willing, in place of the
            preset's.
        verify_token: What the sender shows when it does so.
        guards: Checks that may skip or defer an event; see :mod:`webhook_dedup.guards`.
        ack: When the sender gets its 200, in place of the preset's default.
        methods: HTTP methods that carry deliveries; others pass through to the app. With ``GET``
            goes ``HEAD``, which routers take to the same handler.
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
        subject: Expression | None = None,
        items: Items | None = None,
        batch: Body = "whole",
        public_url: str | None = None,
        handshake: Handshake | None = None,
        verify_token: str | None = None,
        guards: Iterable[Guard] = (),
        ack: Ack | None = None,
        methods: Iterable[str] = ("POST",),
        policy: Policy | None = None,
    ) -> None:
        preset = preset if isinstance(preset, Preset) else find_preset(preset)
        self.preset = preset
        self.name = _checked_name(preset.name if name is None else name)
        self.path = path
        self.pattern = compile_path(path, self.name)
        self.shape = shape_of(path)
        self.ack: Ack = preset.ack if ack is None else ack
        check_choice(self.ack, Ack, "ack")
        self.methods = _with_head(methods_of(methods, f"source {self.name!r}"))
        check_policy(policy)
        self.policy = policy
        self._scheme = scheme = signature or preset.scheme
        optional = preset.secret_optional and signature is None
        self._secrets = self._load(secret, verify=verify, optional=optional)
        self._fetching = scheme if isinstance(scheme, FetchingScheme) and self._secrets else None
        self.public_url = checked_url(public_url, self.name)
        self.handshake = self._expecting(verify_token, handshake or preset.handshake)
        items = preset.items if items is None else items
        self.batched = items is not None
        self.narrow = self._narrowing(items, batch)
        self.guards = self._guarded(guards, subject or preset.subject)
        found_by = self._id_expression(event_id)
        self.identifier = Identifier(
            source=self.name,
            scope=self.scope,
            event_id=compile_extractor(found_by),
            place=_place(found_by),
            event_type=_compile(compile_lenient, event_type or preset.event_type),
            subject=_compile(compile_lenient, subject or preset.subject),
            occurred_at=_compile(compile_time, preset.occurred_at),
            items=None if items is None else compile_items(items),
        )

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

    @property
    def guesses_url(self) -> bool:
        """Whether the URL that its sender signs is not configured."""
        return self.signed and self.public_url is None and getattr(self._scheme, "signs_url", False)

    def verify(self, parsed: Parsed, now: float) -> None:
        """Check the signature over the raw bytes.

        Raises:
            SignatureError: It is missing, malformed, wrong or too old.
        """
        if self._secrets and self._scheme is not None:
            self._scheme.verify(parsed, self._secrets, now)

    def lacks_key(self, parsed: Parsed) -> bool:
        """Whether a key must be fetched before a signature can be checked."""
        return self._fetching is not None and self._fetching.lacks(parsed, self._secrets)

    def fetch_key(self, parsed: Parsed) -> None:
        """Fetch the key, blocking.

        Raises:
            SignatureError: It is not to be had, or the message names one that is not genuine.
        """
        if self._fetching is not None:
            self._fetching.fetch(parsed, self._secrets)

    def answer(self, parsed: Parsed) -> Reply | None:
        """Return the reply if a request is a handshake.

        Raises:
            RejectedDelivery: It is one that must not be answered.
        """
        if self.handshake is None or parsed.method not in self.handshake.methods:
            return None
        return self.handshake.answer(parsed, self._secrets)

    def _expecting(self, token: str | None, handshake: Handshake | None) -> Handshake | None:
        if token is None:
            return handshake
        if not isinstance(handshake, TokenHandshake):
            raise ConfigError(
                f"{self.preset.title} shows no token, so source {self.name!r} takes no verify_token"
            )
        return handshake.with_token(token)

    def _guarded(self, guards: Iterable[Guard], subject: Expression | None) -> Guards:
        checked = Guards(guards)
        if subject is None:
            checked.need_subject(f"source {self.name!r}")
        if checked.stateful and self.batched:
            raise ConfigError(
                f"deliveries of source {self.name!r} bring several events in one call of the "
                "handler, which a lock, a check or a budget cannot guard; use once(…) for each of "
                "them in the handler, or @deduplicate(…, guards=[…]) on a function for one event"
            )
        return checked

    def _narrowing(self, items: Items | None, batch: Body) -> Narrow | None:
        check_choice(batch, Body, "batch")
        if batch == "whole":
            return None
        if items is None:
            raise ConfigError(
                f"batch='items' needs items=… for source {self.name!r}, whose deliveries bring one "
                "event each"
            )
        return _narrower(items)

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


def _with_head(methods: frozenset[str]) -> frozenset[str]:
    return methods | {"HEAD"} if "GET" in methods else methods


def _place(expression: Expression) -> str:
    """Say where an expression looks."""
    name = getattr(expression, "__qualname__", None)
    return f"at {expression_text(expression)}" if name is None else f"by {name}"


def _compile(compiler: Callable[[Expression], Any], expression: Expression | None) -> Any:
    return _nothing if expression is None else compiler(expression)


def _narrower(items: Items) -> Narrow:
    """Make the function that leaves a delivery only the items of an event."""
    find, write = compile_items(items), compile_subset(items)

    def narrow(parsed: Parsed, delivery: Delivery, event: Event) -> Delivery:
        kept = {item.index for item in event.items}
        if len(kept) == len(find(parsed)):
            return delivery
        return with_body(delivery, write(parsed, kept))

    return narrow


def _nothing(_: Parsed) -> None:
    """Find nothing, as for what a source does not tell."""


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"source name {name!r} must be 1 to 64 letters, digits, '_', '.' or '-'")
    return name

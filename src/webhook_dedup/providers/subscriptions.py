"""Amazon SNS asks before it delivers, and is told by a visit to the address it sends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import RejectedDelivery
from ..policy import RETRY_AFTER
from .handshakes import Reply, member
from .parsed import Parsed
from .schemes.fetching import fetch_https
from .schemes.sns import REGION

__all__ = ["SnsConfirmation"]

_ADDRESS = re.compile(rf"https://sns\.{REGION}\.amazonaws\.com(\.cn)?/\?[!-~]{{1,2000}}", re.ASCII)
_SUBSCRIBE = "SubscriptionConfirmation"
_ASKS = (_SUBSCRIBE, "UnsubscribeConfirmation")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsConfirmation:
    """A signed POST of the type ``SubscriptionConfirmation`` or ``UnsubscribeConfirmation``.

    It is answered, and the subscription left as it is. ``confirm=True`` also visits the address
    in it, which makes the subscription valid, when the signature is that of a topic that the
    source takes and the address is one of SNS. An unsubscription is never undone.

    Attributes:
        confirm: Confirm subscriptions.
        fetch: Makes the visit; raises ``OSError`` when it fails.
    """

    confirm: bool = False
    fetch: Callable[[str], object] = fetch_https
    methods = frozenset({"POST"})
    signed = True

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        asks = request.method == "POST" and member(request, "Type") in _ASKS
        return Reply() if asks else None

    def visits(self, request: Parsed) -> bool:
        return self.confirm and member(request, "Type") == _SUBSCRIBE

    def visit(self, request: Parsed) -> None:
        url = member(request, "SubscribeURL")
        if not isinstance(url, str) or not _ADDRESS.fullmatch(url):
            detail = "SubscribeURL is no address of SNS"
            raise RejectedDelivery(400, "bad_handshake", detail)
        try:
            self.fetch(url)
        except OSError as exc:
            detail = "the subscription could not be confirmed now"
            raise RejectedDelivery(503, "not_confirmed", detail, retry_after=RETRY_AFTER) from exc

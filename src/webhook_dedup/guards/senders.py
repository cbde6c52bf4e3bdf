"""The guard against answering oneself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import ConfigError
from ..model import Event
from ..observe.record import Reason
from ..providers.jmespaths import compile_jmespath
from .data import need_json

__all__ = ["SelfSent", "within"]

# The last brackets: a display name, which anybody may choose, stands before them.
_IN_BRACKETS = re.compile(r"<([^<>]*)>\s*\Z")


class SelfSent:
    """Skips events that the agent itself caused, so that it cannot answer itself.

    Args:
        sender: JMESPath to the sender or senders in the event's JSON. Values may be addresses,
            with or without a display name, or ids.
        addresses: The agent's own addresses or ids, compared without regard to case. Sub-addresses
            (``agent+tag@…``) count as the address.
        domains: Domains of which every address is the agent's own, their subdomains included.
        is_self: Tells of a sender, as it stands in the event, whether it is the agent. A plain
            ``def``.

    Raises:
        ConfigError: Nothing says who the agent is, or something does not fit.
    """

    def __init__(
        self,
        sender: str,
        *,
        addresses: Iterable[str] = (),
        domains: Iterable[str] = (),
        is_self: Callable[[str], bool] | None = None,
    ) -> None:
        self._senders = compile_jmespath(sender)
        self._addresses = frozenset(map(_plain, _texts(addresses, "addresses")))
        self._domains = tuple(_texts(domains, "domains"))
        self._is_self = None if is_self is None else _plain_function(is_self)
        if not (self._addresses or self._domains or is_self):
            raise ConfigError(
                "SelfSent must know who the agent is: give addresses=['agent@example.com'], "
                "domains=['agents.example.com'] or is_self=a function"
            )

    def skips(self, event: Event, data: Any) -> tuple[str, str] | None:  # noqa: ARG002 - part of the contract
        for sender in _each(self._senders(need_json(data, "the sender of SelfSent"))):
            if self._knows(sender):
                return Reason.SELF_SENT.value, "the sender is the agent itself"
        return None

    def _knows(self, sender: str) -> bool:
        if _plain(sender) in self._addresses:
            return True
        if any(within(sender, domain) for domain in self._domains):
            return True
        return self._is_self is not None and self._is_self(sender)


def _address_of(text: str) -> str:
    """Return the bare address of ``"Name <user@host>"``; other text as it stands."""
    in_brackets = _IN_BRACKETS.search(text)
    return (in_brackets[1] if in_brackets else text).strip()


def within(text: str, domain: str) -> bool:
    """Whether an address, or a host name, is of a domain or of one below it."""
    host = _address_of(text).rpartition("@")[2].casefold().rstrip(".")
    wanted = domain.casefold().lstrip("@.").rstrip(".")
    return host == wanted or host.endswith(f".{wanted}")


def _plain_function(is_self: Any) -> Callable[[str], bool]:
    # What one that is async returns is true of every sender.
    if not callable(is_self) or inspect.iscoroutinefunction(is_self):
        raise ConfigError(
            f"is_self must be a plain function of a sender, not async, got {is_self!r}; what must "
            "be awaited belongs into a Check"
        )
    told: Callable[[str], bool] = is_self
    return told


def _plain(text: str) -> str:
    user, at, host = _address_of(text).casefold().rpartition("@")
    return f"{user.partition('+')[0]}{at}{host}"


def _each(found: object) -> Iterator[str]:
    for value in found if isinstance(found, list) else [found]:
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            yield str(value)


def _texts(values: Iterable[Any], name: str) -> list[str]:
    given = list(values)
    if isinstance(values, str) or not all(isinstance(each, str) and each.strip() for each in given):
        raise ConfigError(f"{name} must be a list of text such as ['example.com'], got {values!r}")
    return given

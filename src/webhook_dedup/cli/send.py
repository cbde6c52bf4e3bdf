"""``webhook-dedup send``: one signed delivery many times at once, and what came back."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer

from ..errors import ConfigError
from ..providers.parsed import is_header_name
from ..providers.samples import SampleDelivery, sample_delivery
from .output import AsJson, obey, print_json, print_table, say, shown
from .providers import complete_provider

__all__ = ["send"]

_TIMEOUT = 30.0
_EXCERPT = 60

_Provider = Annotated[
    str,
    typer.Option(
        help="Whose delivery: see webhook-dedup providers.", autocompletion=complete_provider
    ),
]
_Secret = Annotated[
    str,
    typer.Option(envvar="WEBHOOK_DEDUP_SECRET", help="Signs it; the private key where it is one."),
]
_Unsigned = Annotated[bool, typer.Option("--unsigned", help="Send it without a signature.")]
_Times = Annotated[int, typer.Option(min=1, help="How many copies.")]
_Connections = Annotated[int, typer.Option(min=1, help="How many connections carry them.")]
_Event = Annotated[
    list[str] | None,
    typer.Option("--event", help="Which event, a new one by default; several make a batch."),
]
_Body = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A body in place of the sample's."),
]
_Header = Annotated[
    list[str] | None, typer.Option("--header", help="Another header, as 'Name: value'.")
]
_Redeliver = Annotated[
    bool,
    typer.Option("--redeliver", help="Then once more, as the provider redelivers: signed anew."),
]
_SignedUrl = Annotated[
    str, typer.Option(help="The URL to sign, where the app is configured with another one.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What to send, and how often.

    Attributes:
        url: Where to.
        provider: Whose delivery.
        sample: Arguments for its sample.
        headers: More headers.
        times: How many copies go at once.
        connections: Over how many connections.
        redeliver: Send a redelivery afterwards.
    """

    url: str
    provider: str
    sample: dict[str, Any]
    headers: dict[str, str]
    times: int
    connections: int
    redeliver: bool

    def delivery(self, attempt: int) -> SampleDelivery:
        made = sample_delivery(self.provider, attempt=attempt, **self.sample)
        return replace(made, headers={**made.headers, **self.headers})

    def target(self, delivery: SampleDelivery) -> str:
        """Return where a delivery goes, with the token if the provider has one in the URL."""
        query = delivery.query.decode()
        return f"{self.url}?{query}" if query and "?" not in self.url else self.url


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back for one copy: a status and a body, or the name of an error."""

    status: str
    body: bytes
    seconds: float

    @property
    def accepted(self) -> bool:
        return self.status.startswith("2")


@dataclass(frozen=True, slots=True)
class _Round:
    """Copies that were sent at once, and what came back."""

    label: str
    answers: Sequence[_Answer]

    @property
    def failed(self) -> int:
        return sum(not answer.accepted for answer in self.answers)

    @property
    def kinds(self) -> list[tuple[str, str, int]]:
        """Status, body and count of the answers that differ, the most frequent first."""
        counts = Counter((answer.status, answer.body) for answer in self.answers)
        return [
            (status, body.decode("utf-8", "replace"), count)
            for (status, body), count in counts.most_common()
        ]

    def milliseconds(self, pick: Callable[[Iterable[float]], float]) -> float:
        return round(1000 * pick([answer.seconds for answer in self.answers]), 1)


def send(
    url: Annotated[str, typer.Argument(help="Where to.")],
    *,
    provider: _Provider,
    secret: _Secret = "",
    unsigned: _Unsigned = False,
    times: _Times = 1,
    connections: _Connections = 1,
    event: _Event = None,
    body: _Body = None,
    header: _Header = None,
    redeliver: _Redeliver = False,
    signed_url: _SignedUrl = "",
    as_json: AsJson = False,
) -> None:
    """Send one delivery of a provider several times at once; exit 1 if any was not accepted."""
    if not secret and not unsigned:
        raise typer.BadParameter("give --secret (or WEBHOOK_DEDUP_SECRET), or --unsigned")
    for each in (url, signed_url):
        _check(each)
    events = event or [uuid.uuid4().hex[:12]]
    sample = {
        "secret": None if unsigned else secret,
        "event": events[0],
        "items": events if len(events) > 1 else (),
        "now": time.time(),
        "url": signed_url or url,
        "body": body.read_bytes() if body else None,
    }
    order = _Order(
        url=url,
        provider=provider,
        sample=sample,
        headers=dict(map(_header, header or ())),
        times=times,
        connections=min(connections, times),
        redeliver=redeliver,
    )
    obey(_send(order, events, as_json=as_json))


def _check(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError as exc:  # what is in brackets is no address, or the port no port
        raise typer.BadParameter(f"{url!r} is no URL: {exc}") from exc


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not is_header_name(name) or not value.isascii():
        raise typer.BadParameter(f"--header {line!r} is not 'Name: value' in ASCII")
    return name, value.strip()


async def _send(order: _Order, events: Sequence[str], *, as_json: bool) -> int:
    rounds = [_Round("copies at once", await _deliver(order, order.delivery(1), order.times))]
    if order.redeliver:
        rounds.append(_Round("redelivery", await _deliver(order, order.delivery(2), 1)))
    if as_json:
        print_json(_report(order, events, rounds))
    else:
        _print(events, rounds)
    return 1 if any(each.failed for each in rounds) else 0


async def _deliver(order: _Order, delivery: SampleDelivery, times: int) -> list[_Answer]:
    """Send all copies at once, each connection its share one after the other."""
    shares = Counter(number % order.connections for number in range(times))
    url = order.target(delivery)
    answers = await asyncio.gather(
        *(_over_one_connection(url, delivery, share) for share in shares.values())
    )
    return [answer for some in answers for answer in some]


async def _over_one_connection(url: str, delivery: SampleDelivery, times: int) -> list[_Answer]:
    # Not by the environment's proxies: a tool that tests this machine's server reaches it itself.
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
        return [await _post(client, url, delivery) for _ in range(times)]


async def _post(client: httpx.AsyncClient, url: str, delivery: SampleDelivery) -> _Answer:
    began = time.perf_counter()
    try:
        response = await client.post(url, content=delivery.body, headers=delivery.headers)
    except httpx.InvalidURL as exc:
        raise ConfigError(f"{url!r} is no URL to send to: {exc}") from exc
    except httpx.UnsupportedProtocol as exc:
        raise ConfigError(f"{url!r} must begin with http:// or https://") from exc
    except httpx.HTTPError as exc:
        return _Answer(type(exc).__name__, b"", time.perf_counter() - began)
    return _Answer(str(response.status_code), response.content, time.perf_counter() - began)


def _report(order: _Order, events: Sequence[str], rounds: Sequence[_Round]) -> dict[str, Any]:
    return {
        "provider": order.provider,
        "url": order.url,
        "events": list(events),
        "rounds": [
            {
                "label": each.label,
                "sent": len(each.answers),
                "failed": each.failed,
                "answers": [
                    {"status": status, "body": body, "count": count}
                    for status, body, count in each.kinds
                ],
                "p50_ms": each.milliseconds(statistics.median),
                "max_ms": each.milliseconds(max),
            }
            for each in rounds
        ],
    }


def _print(events: Sequence[str], rounds: Sequence[_Round]) -> None:
    rows = [
        (each.label, status, str(count), shown(body, _EXCERPT))
        for each in rounds
        for status, body, count in each.kinds
    ]
    print_table(("sent", "answer", "times", "body"), rows)
    for each in rounds:
        median, longest = each.milliseconds(statistics.median), each.milliseconds(max)
        say(f"{each.label}: p50 {median} ms, slowest {longest} ms, {each.failed} not accepted")
    say(f"the same again: {' '.join(f'--event {event}' for event in events)}")

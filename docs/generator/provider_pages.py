"""A page for each provider, told by its row in the catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

from webhook_dedup import Policy, Source
from webhook_dedup.providers import PRESETS, FirstOf, Preset, table
from webhook_dedup.providers.described import (
    expression_text,
    handshake_text,
    scheme_text,
    span_text,
)
from webhook_dedup.providers.handshakes import TokenHandshake
from webhook_dedup.providers.samples import sample_secret
from webhook_dedup.routes import Routes

__all__ = ["provider_pages"]

_INTRODUCTION = """---
hide: [toc]
---

# Providers

A preset knows where a provider puts its ids, how it signs, how it asks whether the endpoint is
willing, whether it sends several events at once, and which answers make it try again. Each page
tells all of it, with what no first-hand source confirms. Any other sender is a
[`generic`](generic.md) source; several of them are easier as a `Preset` of your own
([how](../reference/providers.md)).

"""
_OWN_ID = (
    "Where the id is, only you know: in a header, a form field or the JSON body. "
    "[Listen to a sender](../sources.md#a-sender-without-a-preset) has more."
)
_PUBLIC = "https://hooks.example.com"
_ACKS = {
    "first": "as soon as the delivery is recorded, before the handler runs",
    "claimed": "as soon as the event is claimed, before the handler runs",
    "handled": "the handler's own response, because the reply is what the sender waits for",
}


def provider_pages() -> Iterator[tuple[str, str]]:
    """Yield name and Markdown of each page, the list of all providers first."""
    yield "index", _INTRODUCTION + _list_of_providers()
    for name in sorted(PRESETS):
        yield name, "\n".join(_page(PRESETS[name])) + "\n"


def _list_of_providers() -> str:
    links = {f"| `{name}` |": f"| [`{name}`]({name}.md) |" for name in PRESETS}
    text = table.markdown()
    for plain, linked in links.items():
        text = text.replace(plain, linked)
    return text + "\n"


def _page(preset: Preset) -> Iterator[str]:
    yield f"# {preset.title}\n"
    yield from ("```python", _code(preset), "```\n")
    if preset.event_id is None:
        yield f"{_OWN_ID}\n"
    yield from ("| | |", "|---|---|")
    yield from (f"| {fact} | {text} |" for fact, text in _facts(preset))
    yield from _list("Good to know", preset.notes)
    yield from _list("No first-hand source confirms", preset.unverified)
    yield from _trial(preset)


def _code(preset: Preset) -> str:
    arguments = [f'"{preset.name}"', f'path="/webhooks/{preset.name}"']
    if preset.event_id is None:
        arguments.append('event_id="id"')
    if preset.scheme is not None:
        arguments.append(f'secret=os.environ["{_variable(preset)}"]')
    if _signs_url(preset):
        arguments.append(f'public_url="{_PUBLIC}"')
    if isinstance(preset.handshake, TokenHandshake):
        arguments.append('verify_token="as typed into the settings"')
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return f"import os\n\nfrom webhook_dedup import Source\n\nsource = Source(\n{lines})"


def _signs_url(preset: Preset) -> bool:
    return getattr(preset.scheme, "signs_url", False)


def _variable(preset: Preset) -> str:
    return f"{preset.name.upper().replace('-', '_')}_SECRET"


def _facts(preset: Preset) -> Iterator[tuple[str, str]]:
    """Yield what is known, in the order in which one sets a source up."""
    where = "each item's " if preset.items else ""
    known = {
        "secret": preset.secret_format,
        "proof of a delivery": scheme_text(preset.scheme),
        "handshake": handshake_text(preset.handshake),
        "several events at once": preset.items and f"yes, in {_spelt(preset.items)}",
        "event id": f"{where}{_spelt(preset.event_id)}" if preset.event_id else "",
        "event type": _spelt(preset.event_type),
        "its own time": _spelt(preset.occurred_at),
        "what it is about": _spelt(preset.subject),
        "acknowledged": f'`{preset.ack_status}`, {_ACKS[preset.ack]} (`ack="{preset.ack}"`)',
        "body of that": preset.ack_body and _literal(preset.ack_body.decode()),
        "made to try again by": f"`{preset.retry_status}`",
        "expects its answer within": span_text(preset.deadline),
        "retries for": span_text(preset.horizon) or "it does not, or nobody knows",
        "can be asked to resend for": span_text(preset.replay),
        "remembered for": f"{span_text(_default_ttl(preset))}, unless a policy says otherwise",
        "largest body": preset.max_body and f"{preset.max_body >> 20} MiB",
        "documentation": preset.docs and f"<{preset.docs}>, read on {preset.checked:%Y-%m-%d}",
    }
    yield from ((fact, str(text)) for fact, text in known.items() if text)


def _default_ttl(preset: Preset) -> float:
    """Ask the library itself what it makes of the code on the page."""
    secret = "" if preset.scheme is None else sample_secret(preset.name).verifying
    names: dict[str, Source] = {}
    with mock.patch.dict(os.environ, {_variable(preset): secret}):
        exec(_code(preset), names)  # noqa: S102 - written above
    return Routes([names["source"]], Policy()).by_name[preset.name].ttl


def _trial(preset: Preset) -> Iterator[str]:
    yield "\n## Try it\n"
    if preset.scheme is not None and len(set(sample_secret(preset.name))) > 1:
        yield (
            f"Only {preset.title} can sign for the key above. In tests, the fixtures "
            f'`webhook_secret("{preset.name}")` and `signed_delivery("{preset.name}")` make a pair '
            "of keys and what it signs: see [Test your app](../testing.md)."
        )
        return
    yield "```console"
    yield f"$ webhook-dedup send http://127.0.0.1:8000/webhooks/{preset.name} \\"
    yield f"    {' '.join(_options(preset))}"
    yield "```"


def _options(preset: Preset) -> Iterator[str]:
    yield f"--provider {preset.name}"
    yield f'--secret "${_variable(preset)}"' if preset.scheme is not None else "--unsigned"
    if _signs_url(preset):
        yield f"--signed-url {_PUBLIC}/webhooks/{preset.name}"
    # Of copies at once, those that meet the first one running are told to come again.
    yield "--times 2" if preset.ack == "handled" else "--times 5 --connections 5"


def _list(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield f"\n## {title}\n"
        yield from (f"- {line}" for line in lines)


def _spelt(expression: object) -> str:
    """Return an expression as code in a cell of a table, its parts and alternatives told apart."""
    if expression is None:
        return ""
    if isinstance(expression, FirstOf):
        return "<br>or ".join(map(_spelt, expression.choices))
    if isinstance(expression, tuple):
        return " + ".join(map(_spelt, expression))
    return _literal(expression_text(expression))


def _literal(text: str) -> str:
    return f"`{text}`".replace("|", r"\|")

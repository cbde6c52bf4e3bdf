"""How often does the Bloom store drop a new event, and how many bits does it take for a key?"""

from __future__ import annotations

import math
from itertools import islice

from webhook_dedup.bench.operations import TTL, new_keys
from webhook_dedup.model import Bid, Claim, Outcome, Settlement
from webhook_dedup.stores.bloom import BloomStore
from webhook_dedup.testing import FakeClock

from .lab import Lab, Row

RATES = (1e-2, 1e-3, 1e-4)
STEPS = 64


async def ask(lab: Lab) -> list[Row]:
    return [await _measure(lab, rate) for rate in RATES]


async def _measure(lab: Lab, rate: float) -> Row:
    """Two whole rotations at an even load, then as many looks for keys that were never there."""
    lab.tell(f"Bloom: error rate {rate:g}")
    number = lab.scale.keys[0]
    clock, keys = FakeClock(), new_keys()
    store = BloomStore(capacity=number, error_rate=rate, clock=clock)
    bits = []
    for step in range(2 * STEPS):
        claims = [Claim(key, "t", Outcome.FRESH) for key in islice(keys, number // STEPS)]
        await store.complete([Settlement(claim, TTL) for claim in claims])
        clock.advance(TTL / STEPS)
        if step >= STEPS:
            bits.append(store.bits / number)
    probes = lab.scale.probes
    hits = 0
    for start in range(0, probes, STEPS):
        bids = [Bid(key, "p", TTL) for key in islice(new_keys(f"probe:{start}"), STEPS)]
        claims = await store.claim(bids)
        hits += sum(claim.done for claim in claims)
        await store.release([claim for claim in claims if claim.fresh])
    theory = 1.44 * math.log2(1 / rate)
    return {
        "question": "bloom",
        "who": "webhook_dedup bloom",
        "stated": rate,
        "measured": hits / probes,
        "dropped per million": 1e6 * hits / probes,
        "probes": probes,
        "keys": number,
        "bits": max(bits),
        "theory": theory,
        "ratio": max(bits) / theory,
    }

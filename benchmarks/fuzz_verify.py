"""Mutate valid deliveries of every signature scheme and watch what ``verify`` does.

    python -m benchmarks.fuzz_verify --inputs 1000000 --seed 1

It must return or raise ``SignatureError``, whatever comes; it must not return for another body
than the signed one where the scheme covers the body; and its CPU time must stay below a line: two
milliseconds and a microsecond for each byte. Slow ones are measured again, since the machine has
other things to do. The first input of every fault is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import gc
import logging
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from webhook_dedup.errors import SignatureError
from webhook_dedup.providers import Parsed

from .mutations import Mutator
from .signed_deliveries import CASES, NOW, Case

BASE, PER_BYTE = 2e-3, 1e-6
AGAIN = 5
UNCOVERED = {
    "adyen-items": "signs fields of the items",
    "basic": "signs nothing",
    "bearer": "signs nothing",
    "graph": "signs nothing",
    "mailgun-form": "signs time and token",
    "mailgun-json": "signs time and token",
    "mandrill": "signs the decoded form",
    "query": "signs nothing",
    "sns-fetched": "signs fields of the body",
    "sns-v1-pinned": "signs fields of the body",
    "token": "signs nothing",
    "twilio-form": "signs the decoded form",
}


@dataclass
class Findings:
    """What happened to all inputs.

    Attributes:
        outcomes: How often ``verify`` returned, or refused with which code.
        worst: The largest share of its time limit that an input used, for each case.
        faults: What must not happen, with the first input for which it did.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def size_of(message: Parsed) -> int:
    headers = sum(len(name) + len(value) for name, value in message.headers)
    return len(message.body) + headers + len(message.url or "") + len(message.query)


def outcome_of(case: Case, message: Parsed, secrets: tuple[bytes, ...]) -> tuple[str, float]:
    """Verify, and say how it ended and what share of its time limit it took."""
    copy = Parsed(
        message.headers, message.body, url=message.url, query=message.query, method=message.method
    )
    start = time.thread_time()
    try:
        case.scheme.verify(copy, secrets, NOW)
        outcome = "returned"
    except SignatureError as refused:
        outcome = refused.code
    except Exception as exc:  # noqa: BLE001 - this is what is looked for
        outcome = f"!{type(exc).__name__}"
    spent = time.thread_time() - start
    return outcome, spent / (BASE + PER_BYTE * size_of(message))


def try_one(name: str, valid: Parsed, mutated: Parsed, findings: Findings) -> None:
    case = CASES[name]
    secrets = case.secrets
    outcome, share = outcome_of(case, mutated, secrets)
    if share > 1:
        share = min(share, *(outcome_of(case, mutated, secrets)[1] for _ in range(AGAIN)))
    findings.outcomes[outcome] += 1
    findings.worst[name] = max(share, findings.worst.get(name, 0.0))
    unseen = outcome == "returned" and name not in UNCOVERED and mutated.body != valid.body
    for fault, happened in (
        (f"{name}: raised {outcome[1:]}", outcome.startswith("!")),
        (f"{name}: accepted another body", unseen),
        (f"{name}: slow", share > 1),
    ):
        if happened and fault not in findings.faults:
            shown = (mutated.headers, mutated.body, mutated.url, mutated.query)
            findings.faults[fault] = repr(shown)[:4_000]


def run(inputs: int, seed: int) -> Findings:
    """Try that many inputs, the same for the same seed save for keys made of chance."""
    mutator, findings = Mutator(seed), Findings()
    valid = {name: case.message() for name, case in CASES.items()}
    names = list(CASES)
    for number in range(inputs):
        name = names[number % len(names)]
        try_one(name, valid[name], mutator.mutate(valid[name]), findings)
    return findings


def report(findings: Findings, inputs: int, seconds: float) -> None:
    print(f"Python {platform.python_version()}, {inputs:,} inputs in {seconds:.0f} s")
    for outcome, count in findings.outcomes.most_common():
        print(f"  {outcome:22} {count:>10,}")
    print("largest share of the time limit (2 ms + 1 µs a byte):")
    for name, share in sorted(findings.worst.items(), key=lambda item: -item[1])[:8]:
        print(f"  {name:22} {share:>10.2f}")
    for fault, shown in findings.faults.items():
        print(f"FAULT {fault}\n  {shown}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of the multipart parser, once for each broken form
    gc.freeze()
    start = time.monotonic()
    findings = run(options.inputs, options.seed)
    report(findings, options.inputs, time.monotonic() - start)
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the demo sends, and what has to come of it."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

from ...providers import sign

__all__ = ["GITHUB_SECRET", "STRIPE_SECRET", "Delivery", "Step", "steps"]

GITHUB_SECRET = "a demo's secret"  # noqa: S105 - signs this demo's own deliveries
STRIPE_SECRET = "whsec_a_demos_secret"  # noqa: S105 - signs this demo's own deliveries


@dataclass(slots=True)
class Delivery:
    """One signed request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Step:
    """Something the demo sends, and what came back.

    Attributes:
        label: For the table.
        delivery: What is sent, ``copies`` times at once, each over its own connection.
        answer: The status every copy should get.
        runs: How often its handler should succeed.
        answers: Status and seconds of each answer.
        told: What the records said while the step was settled.
    """

    label: str
    delivery: Delivery
    copies: int = 1
    answer: int = 200
    runs: int = 1
    answers: list[tuple[int, float]] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    @property
    def as_expected(self) -> bool:
        """Whether every copy was answered, and the handler succeeded, as it should."""
        answered = {status for status, _ in self.answers} == {self.answer}
        return answered and self.told["succeeded"] == self.runs


def steps() -> list[Step]:
    """Make them up, of events that were never sent before."""
    push, failing = str(uuid.uuid4()), str(uuid.uuid4())
    charge = f"evt_{uuid.uuid4().hex}"
    pushed = _github(push)
    forged = _github(str(uuid.uuid4()))
    forged.headers["X-Hub-Signature-256"] = "sha256=" + "0" * 64
    nameless = _github("")
    del nameless.headers["X-GitHub-Delivery"]
    return [
        Step("a push, 5 copies at once", pushed, copies=5),
        Step("the same push, redelivered", pushed, runs=0),
        Step("a charge", _stripe(charge)),
        Step("a bad signature", forged, answer=401, runs=0),
        Step("no event id", nameless, answer=400, runs=0),
        Step("a push whose handler fails first", _github(failing, fail=True)),
    ]


def _github(event: str, *, fail: bool = False) -> Delivery:
    body = json.dumps({"ref": "refs/heads/main", "fail_first": fail}).encode()
    headers = {"X-GitHub-Delivery": event, "X-GitHub-Event": "push"}
    headers |= sign("github", secret=GITHUB_SECRET, body=body)
    return Delivery("/webhooks/github", headers, body)


def _stripe(event: str) -> Delivery:
    content = {"id": event, "type": "charge.succeeded", "created": int(time.time())}
    body = json.dumps(content).encode()
    return Delivery("/webhooks/stripe", sign("stripe", secret=STRIPE_SECRET, body=body), body)

"""What was done, told on the page one is led to.

The address of that page bears a proof, so that no link from elsewhere can claim an act.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from .gate import visitor_of
from .links import asked_of, link

__all__ = ["Outcome", "link_to_outcome", "outcome_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an act.

    Attributes:
        done: What was done.
        number: To how many.
    """

    done: str
    number: int


def link_to_outcome(request: Request, path: str, outcome: Outcome, /, **asked: str) -> str:
    """Return the address of a page that tells an outcome to this visitor only."""
    said = {**asked, "done": outcome.done, "number": str(outcome.number)}
    said = {name: value for name, value in said.items() if value}
    return link(request, path, **said, proof=_proof(request, said))


def outcome_of(request: Request) -> Outcome | None:
    """Return the outcome that an address tells, if the dashboard itself led there."""
    said = dict(asked_of(request))
    proof = said.pop("proof", "")
    if not hmac.compare_digest(proof.encode("utf-8", "replace"), _proof(request, said).encode()):
        return None
    return Outcome(said["done"], int(said["number"]))


def _proof(request: Request, said: Mapping[str, str]) -> str:
    text = "outcome" + json.dumps(said, sort_keys=True)
    return hmac.new(visitor_of(request).csrf.encode(), text.encode(), hashlib.sha256).hexdigest()

"""Checks that may skip or defer an event, given to a source or a decorator."""

from .budget import Budget
from .check import Check
from .lock import OneAtATime
from .passage import Guard, Guards, Passage
from .rules import Rules
from .senders import SelfSent

__all__ = [
    "Budget",
    "Check",
    "Guard",
    "Guards",
    "OneAtATime",
    "Passage",
    "Rules",
    "SelfSent",
]

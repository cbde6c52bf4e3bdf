"""A store asked for the answers that the one in front of it leaves open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..contracts import Store
from .entry import Keyed

__all__ = ["Confirming"]


_Asked = TypeVar("_Asked", bound=Keyed)
_Answer = TypeVar("_Answer")


class Confirming:
    """Asks a store, and knows which keys it is being asked about.

    Args:
        store: The store to ask; without one no answer may be left open.
    """

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self._asking: Counter[str] = Counter()

    def is_asked_about(self, key: str) -> bool:
        """Whether the store is deciding about this key now.

        Then it alone orders all who come for the key. One that is completed there after its lease
        ran out here, or that is forgotten here meanwhile, must not be granted here as well.
        """
        return key in self._asking

    async def settle(
        self,
        asked: Sequence[_Asked],
        answers: Sequence[_Answer | None],
        *,
        ask: Callable[[Store, Sequence[_Asked]], Awaitable[Sequence[_Answer]]],
        learn: Callable[[_Asked, _Answer], None],
    ) -> Sequence[_Answer]:
        """Let the store fill in the answers that are ``None``, and pass what it says to ``learn``.

        When it fails nothing is learned, and the caller repeats the verb.
        """
        known = [given for given in answers if given is not None]
        if self.store is None or len(known) == len(answers):
            return known
        unsure = [item for item, given in zip(asked, answers, strict=True) if given is None]
        with self._asking_about([item.key for item in unsure]):
            told = await ask(self.store, unsure)
            for item, given in zip(unsure, told, strict=True):
                learn(item, given)
        rest = iter(told)
        return [next(rest) if given is None else given for given in answers]

    @contextmanager
    def _asking_about(self, keys: Sequence[str]) -> Iterator[None]:
        self._asking.update(keys)
        try:
            yield
        finally:
            self._asking.subtract(keys)
            for key in keys:
                if not self._asking[key]:
                    del self._asking[key]

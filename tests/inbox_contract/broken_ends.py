"""Inboxes with one fault each in what done removes."""

from webhook_dedup.inbox.memory import MemoryInbox
from webhook_dedup.model import Attempt

from .faults import caught_by


@caught_by("test_done_item_is_gone", "test_done_may_be_repeated")
class BuriesWhatIsDone(MemoryInbox):
    """Keeps done items as dead letters."""

    async def done(self, items):
        for item in items:
            row = self._rows.get(item.id)
            if row is not None:
                self._bury(row, Attempt(0.0, "", 0.0, "done"))


@caught_by("test_done_item_is_gone")
class HidesWhatIsDone(MemoryInbox):
    """Takes done items off the schedule and leaves them where they are."""

    async def done(self, items):
        for item in items:
            self._schedule.drop(item.id)


@caught_by("test_done_may_be_repeated", "test_repeated_done_closes_dead_letters")
class FailsOnWhatIsGone(MemoryInbox):
    """Expects to find what it removes."""

    async def done(self, items):
        for item in items:
            if self._row(item.id) is None:
                raise KeyError(item.id)
        await super().done(items)


@caught_by("test_done_needs_no_token")
class AsksForATokenWhenDone(MemoryInbox):
    """Removes items for their holders only."""

    async def done(self, items):
        await super().done([item for item in items if self._held(item)])


@caught_by("test_done_leaves_its_neighbours")
class EndsWaitingSiblings(MemoryInbox):
    """Removes everything of the same key."""

    async def done(self, items):
        keys = {item.key for item in items}
        for row in [row for row in self._rows.values() if row.item.key in keys]:
            self._remove(row.item.id)
        await super().done(items)


@caught_by("test_done_closes_the_dead_letters_of_its_key", "test_done_of_a_batch_is_of_its_keys")
class LeavesGraves(MemoryInbox):
    """Removes the item alone."""

    async def done(self, items):
        for item in items:
            self._remove(item.id)


@caught_by("test_done_closes_the_dead_letters_of_its_key")
class ClosesOneGrave(MemoryInbox):
    """Removes one dead letter of the key."""

    async def done(self, items):
        for item in items:
            self._remove(item.id)
            for sibling in self._graves.of_key(item.key)[:1]:
                self._graves.pop(sibling)


@caught_by("test_repeated_done_closes_dead_letters")
class ReadsTheKeyFromTheRow(MemoryInbox):
    """Closes graves only while the item itself is there."""

    async def done(self, items):
        await super().done([item for item in items if self._row(item.id) is not None])


@caught_by("test_done_dead_letter_is_gone")
class LeavesDeadItems(MemoryInbox):
    """Looks for the item only among those that wait."""

    async def done(self, items):
        dead = [item for item in items if self._graves.get(item.id)]
        await super().done([item for item in items if item not in dead])


class JoinsKeys(MemoryInbox):
    """Closes the graves of all keys that it takes for one."""

    def joined(self, key):
        raise NotImplementedError

    async def done(self, items):
        await super().done(items)
        keys = {self.joined(item.key) for item in items}
        for grave in list(self._graves.rows()):
            if self.joined(grave.item.key) in keys:
                self._graves.pop(grave.item.id)


@caught_by("test_items_without_a_key_are_no_siblings", "test_done_of_a_batch_is_of_its_keys")
class TakesNoKeyForAKey(JoinsKeys):
    """Closes the graves of all items without a key."""

    def joined(self, key):
        return key


@caught_by("test_lookalike_keys_are_no_siblings")
class FoldsKeys(JoinsKeys):
    """Compares keys without regard to case."""

    def joined(self, key):
        return key.casefold() or object()


@caught_by("test_lookalike_keys_are_no_siblings")
class CutsKeys(JoinsKeys):
    """Compares the first 400 characters of a key."""

    def joined(self, key):
        return key[:400] or object()


@caught_by("test_lookalike_keys_are_no_siblings")
class EscapesKeys(JoinsKeys):
    """Compares keys as text that any column takes."""

    def joined(self, key):
        return key.encode("utf-8", "backslashreplace") or object()

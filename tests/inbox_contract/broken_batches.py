"""Inboxes with one fault each in how they serve a batch."""

from msgspec.structs import replace

from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by


@caught_by("test_empty_batches_answer_nothing")
class FailsOnEmptyBatches(MemoryInbox):
    """Builds a statement without rows."""

    async def renew(self, items, lease):
        _ = items[0]
        return await super().renew(items, lease)


@caught_by("test_verbs_answer_each_item_for_itself", "test_unknown_items_of_a_batch")
class AnswersInIdOrder(MemoryInbox):
    """Sorts a batch and answers in that order."""

    async def begin(self, items):
        return await super().begin(sorted(items, key=lambda item: (item.key, item.id)))

    async def renew(self, items, lease):
        known = [item for item in items if self._row(item.id)]
        unknown = [item for item in items if not self._row(item.id)]
        return await super().renew([*known, *unknown], lease)


@caught_by("test_verbs_answer_each_item_for_itself")
class RefusesWholeBatches(MemoryInbox):
    """Serves nobody where it refuses one."""

    async def renew(self, items, lease):
        if not all(self._held(item) for item in items):
            return [False] * len(items)
        return await super().renew(items, lease)


@caught_by("test_unknown_items_of_a_batch")
class AnswersForWhatItFinds(MemoryInbox):
    """Returns a row for each row it updated."""

    async def renew(self, items, lease):
        return [each for each in await super().renew(items, lease) if each]


@caught_by("test_known_items_of_a_batch_stay")
class SkipsBatchesItKnows(MemoryInbox):
    """Takes a batch with a known item for one it has recorded."""

    async def put(self, items, lease):
        if not any(self._row(item.id) for item in items):
            await super().put(items, lease)


@caught_by("test_large_batch")
class CutsBatches(MemoryInbox):
    """Serves the first hundred items of a batch."""

    async def put(self, items, lease):
        await super().put(items[:100], lease)


@caught_by("test_done_of_a_batch_is_of_its_keys")
class SharesTheFirstKey(MemoryInbox):
    """Takes the key of the first item for all."""

    async def done(self, items):
        await super().done([replace(item, key=items[0].key) for item in items])

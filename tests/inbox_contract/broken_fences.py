"""Inboxes with one fault each in whom they let act."""

from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by


@caught_by(
    "test_former_holder_is_refused",
    "test_who_put_is_refused_after_a_take",
    "test_former_holder_is_refused_after_a_deferral",
    "test_verbs_answer_each_item_for_itself",
)
class AsksForNoToken(MemoryInbox):
    """Lets anybody act who knows the id."""

    def _held(self, item):
        row = self._rows.get(item.id)
        return row if row is not None and row.held else None


@caught_by("test_former_holder_is_refused", "test_who_put_is_refused_after_a_take")
class RetriesForAnybody(MemoryInbox):
    """Asks for a token in all verbs but one."""

    async def retry(self, item, after, attempt):
        row = self._rows.get(item.id)
        return await super().retry(row.item if row else item, after, attempt)


@caught_by("test_former_holder_is_refused")
class RenewsForAnybody(MemoryInbox):
    """Keeps an item from its next holder for one that is long gone."""

    def _renew(self, item, lease):
        return item.id in self._rows


@caught_by("test_who_put_is_refused_after_a_take")
class TrustsWhoPut(MemoryInbox):
    """Lets the process that accepted an item act for ever."""

    def __init__(self, **options):
        super().__init__(**options)
        self._first = {}

    async def put(self, items, lease):
        self._first.update((item.id, item.token) for item in items)
        await super().put(items, lease)

    def _held(self, item):
        if self._first.get(item.id) == item.token:
            return self._rows.get(item.id)
        return super()._held(item)


@caught_by("test_former_holder_cannot_take_an_attempt_back", "test_former_holder_is_refused")
class DefersForAnybody(MemoryInbox):
    """Takes back the attempt of whoever holds the item."""

    async def defer(self, item, after):
        row = self._rows.get(item.id)
        if row is not None and row.item.attempts:
            row.begun = True
        return await super().defer(row.item if row else item, after)


@caught_by("test_former_holder_is_refused_after_a_deferral")
class FreesWhatIsDeferred(MemoryInbox):
    """Takes a deferred item for one that nobody holds."""

    def _held(self, item):
        row = self._rows.get(item.id)
        return row if row is not None and row.item.deferred else super()._held(item)


@caught_by("test_former_holder_is_refused_after_a_retry")
class ConfirmsAnyRetry(MemoryInbox):
    """Takes every retry of what was retried for a repetition."""

    async def retry(self, item, after, attempt):
        row = self._rows.get(item.id)
        retried = row is not None and not row.held
        return retried or await super().retry(item, after, attempt)


@caught_by("test_former_holder_is_refused_after_a_burial")
class ConfirmsAnyBurial(MemoryInbox):
    """Takes every burial of what is dead for a repetition."""

    async def bury(self, item, attempt):
        return self._graves.get(item.id) is not None or await super().bury(item, attempt)


@caught_by("test_own_retry_is_not_confirmed_after_a_take")
class RemembersWhoRetried(MemoryInbox):
    """Confirms a retry to its token for ever."""

    def __init__(self, **options):
        super().__init__(**options)
        self._retried = set()

    async def retry(self, item, after, attempt):
        if await super().retry(item, after, attempt):
            self._retried.add(item.token)
        return item.token in self._retried


@caught_by("test_unknown_items_are_refused", "test_done_item_is_gone")
class RenewsWhatIsGone(MemoryInbox):
    """Confirms the renewal of what it does not have."""

    def _renew(self, item, lease):
        return self._row(item.id) is None or super()._renew(item, lease)


@caught_by("test_unknown_items_are_refused")
class MakesWhatIsUnknown(MemoryInbox):
    """Writes an item back that somebody defers."""

    async def defer(self, item, after):
        if self._row(item.id) is None:
            await self.put([item], after)
        return await super().defer(item, after)

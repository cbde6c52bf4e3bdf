"""Inboxes with one fault each in what people do."""

from msgspec.structs import replace

from webhook_dedup.contracts import Sought
from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by


@caught_by("test_unknown_item_is_none")
class FailsOnUnknownIds(MemoryInbox):
    """Expects to find what it is asked for."""

    async def get(self, item_id):
        row = self._row(item_id)
        if row is None:
            raise LookupError(item_id)
        return row.item


@caught_by("test_looking_changes_nothing")
class ListsByTaking(MemoryInbox):
    """Hands out what it lists."""

    async def find(self, sought, *, limit=100, after=""):
        found = await super().find(sought, limit=limit, after=after)
        for each in found:
            if each.id in self._rows:
                self._hand_over(each.id, 0.0)
        return found


class ChangesWhatItRequeues(MemoryInbox):
    def change(self, item, before):
        raise NotImplementedError

    async def requeue(self, item_ids):
        before = {each: row.item for each in item_ids if (row := self._row(each))}
        answer = await super().requeue(item_ids)
        for each, item in before.items():
            self._rows[each].item = self.change(self._rows[each].item, item)
        return answer


@caught_by("test_requeued_dead_letter_is_due", "test_requeued_item_does_not_wait")
class KeepsAttempts(ChangesWhatItRequeues):
    """Lets a requeued item be buried by its first failure."""

    def change(self, item, before):
        return replace(item, attempts=before.attempts)


@caught_by("test_requeued_item_is_not_deferred")
class KeepsDeferral(ChangesWhatItRequeues):
    """Takes the next deferral of a requeued item for the last one."""

    def change(self, item, before):
        return replace(item, deferred=before.deferred)


@caught_by("test_cut_off_runs_are_counted_anew")
class KeepsWhatWasCutOff(ChangesWhatItRequeues):
    """Suspects a requeued item for what befell it before."""

    def change(self, item, before):
        return replace(item, cut_off=before.cut_off)


@caught_by(
    "test_cut_off_runs_are_counted_anew",
    "test_runs_that_never_ended_are_counted",
)
class ReckonsByHistory(MemoryInbox):
    """Takes every entry of the history for the end of a run that still counts."""

    async def take(self, limit, lease):
        taken = await super().take(limit, lease)
        return [replace(item, cut_off=item.attempts - len(item.history)) for item in taken]


@caught_by("test_requeued_dead_letter_is_due")
class ForgetsHistory(ChangesWhatItRequeues):
    """Requeues an item as if nothing had happened."""

    def change(self, item, before):
        return replace(item, history=())


@caught_by("test_requeued_dead_letter_is_due")
class CallsRequeuedDead(ChangesWhatItRequeues):
    """Leaves the mark of a dead letter on what it requeues."""

    def change(self, item, before):
        return replace(item, dead=before.dead)


@caught_by("test_requeue_refuses_former_holders")
class KeepsHolders(ChangesWhatItRequeues):
    """Leaves a requeued item to who held it."""

    def change(self, item, before):
        return replace(item, token=before.token)


class RemembersTheRaised(MemoryInbox):
    """Knows what was dead when it was requeued."""

    def __init__(self, **options):
        super().__init__(**options)
        self.raised = []

    async def requeue(self, item_ids):
        self.raised += [grave.item for grave in map(self._graves.get, item_ids) if grave]
        return await super().requeue(item_ids)


@caught_by("test_requeued_item_is_no_dead_letter")
class FindsTheRaised(RemembersTheRaised):
    """Shows as dead what once was."""

    async def find(self, sought, *, limit=100, after=""):
        found = await super().find(sought, limit=limit, after=after)
        return [*found, *self.raised] if sought.state == "dead" else found


@caught_by("test_requeued_item_is_no_dead_letter")
class CountsTheRaised(RemembersTheRaised):
    """Counts as dead what once was."""

    async def count(self, sought):
        counted = await super().count(sought)
        return counted + len(self.raised) if sought.state == "dead" else counted


@caught_by("test_requeued_item_is_no_dead_letter")
class ClosesTheRaised(RemembersTheRaised):
    """Takes a requeued item for a dead letter of its key."""

    async def done(self, items):
        keys = {item.key for item in items}
        for item in self.raised:
            if item.key in keys:
                self._remove(item.id)
        await super().done(items)


@caught_by("test_requeued_item_does_not_wait", "test_requeue_refuses_former_holders")
class RequeuesTheDeadOnly(MemoryInbox):
    """Leaves alone what waits."""

    async def requeue(self, item_ids):
        return await super().requeue([each for each in item_ids if self._graves.get(each)])


@caught_by("test_requeue_counts_what_was_there")
class CountsWhatWasAsked(MemoryInbox):
    """Takes the number of ids for the number of items."""

    async def requeue(self, item_ids):
        await super().requeue(item_ids)
        return len(item_ids)


@caught_by("test_requeue_counts_what_was_there", "test_pages_go_on_while_items_change")
class RequeuesEverything(MemoryInbox):
    """Requeues more than it was asked to."""

    async def requeue(self, item_ids):
        answer = await super().requeue(item_ids)
        await super().requeue([row.item.id for row in self._graves.rows()])
        return answer


@caught_by("test_shelved_item_is_dead")
class ShelvesWithoutReason(MemoryInbox):
    """Does not say why."""

    async def shelve(self, item_ids, reason):
        answer = await super().shelve(item_ids, reason)
        for grave in filter(None, map(self._graves.get, item_ids)):
            grave.item = replace(grave.item, history=grave.item.history[:-1])
        return answer


@caught_by("test_shelved_item_is_dead")
class ShelvesOverHistory(MemoryInbox):
    """Puts the reason in the place of the attempts."""

    async def shelve(self, item_ids, reason):
        answer = await super().shelve(item_ids, reason)
        for grave in filter(None, map(self._graves.get, item_ids)):
            grave.item = replace(grave.item, history=grave.item.history[-1:])
        return answer


@caught_by("test_shelved_item_is_dead")
class EndsRunsTwice(MemoryInbox):
    """Takes what has ended for what is shelved in the middle of its run."""

    async def shelve(self, item_ids, reason):
        answer = await super().shelve(item_ids, reason)
        for grave in filter(None, map(self._graves.get, item_ids)):
            grave.item = replace(grave.item, cut_off=grave.item.cut_off - grave.item.attempts)
        return answer


@caught_by("test_shelving_refuses_former_holders")
class ShelvesUnderTheSameToken(MemoryInbox):
    """Confirms the burial of its holder as if it were a repetition."""

    async def shelve(self, item_ids, reason):
        tokens = {each: self._rows[each].item.token for each in item_ids if each in self._rows}
        answer = await super().shelve(item_ids, reason)
        for each, token in tokens.items():
            grave = self._graves.get(each)
            grave.item = replace(grave.item, token=token)
        return answer


@caught_by("test_shelving_refuses_former_holders")
class ShelvesUnderATokenThatHolds(MemoryInbox):
    """Lets who is shown a shelved item begin it."""

    def _begin(self, item):
        grave = self._graves.get(item.id)
        shelved = grave is not None and not grave.item.attempts
        return super()._begin(item) or (shelved and grave.item.token == item.token)


@caught_by("test_shelving_counts_what_waited")
class ShelvesTheDead(MemoryInbox):
    """Sets aside again what is set aside."""

    async def shelve(self, item_ids, reason):
        dead = [each for each in item_ids if self._graves.get(each)]
        await self.requeue(dead)
        return await super().shelve(item_ids, reason)


@caught_by("test_shelved_item_can_be_requeued")
class CutsReasons(MemoryInbox):
    """Keeps a hundred characters of a reason."""

    async def shelve(self, item_ids, reason):
        return await super().shelve(item_ids, reason[:100])


@caught_by("test_purged_items_are_gone")
class PurgesTheDeadOnly(MemoryInbox):
    """Leaves what waits."""

    async def purge(self, item_ids):
        return await super().purge([each for each in item_ids if self._graves.get(each)])


@caught_by("test_purged_items_are_gone", "test_done_closes_the_dead_letters_of_its_key")
class CountsTheGone(MemoryInbox):
    """Counts dead letters by how often it buried and requeued."""

    def __init__(self, **options):
        super().__init__(**options)
        self.buried = 0

    async def bury(self, item, attempt):
        self.buried += 1
        return await super().bury(item, attempt)

    async def requeue(self, item_ids):
        self.buried -= sum(self._graves.get(each) is not None for each in item_ids)
        return await super().requeue(item_ids)

    async def count(self, sought):
        return self.buried if sought == Sought(state="dead") else await super().count(sought)


@caught_by("test_purged_items_are_gone")
class PurgesOnPaper(MemoryInbox):
    """Counts what it does not delete."""

    async def purge(self, item_ids):
        return sum(self._row(each) is not None for each in item_ids)

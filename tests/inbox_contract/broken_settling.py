"""Inboxes with one fault each in counting attempts, deferring, retrying and burying."""

from msgspec.structs import replace

from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by


@caught_by("test_begin_counts_once_a_hold", "test_repetitions_at_once_count_once")
class CountsEveryBegin(MemoryInbox):
    """Counts a begin that is repeated."""

    def _begin(self, item):
        row = self._held(item)
        if row is not None:
            row.begun = False
        return super()._begin(item)


@caught_by("test_begin_counts_once_a_hold")
class CountsTheFirstHold(MemoryInbox):
    """Does not notice that another holder begins."""

    def _hand_over(self, item_id, lease):
        begun = self._rows[item_id].begun
        item = super()._hand_over(item_id, lease)
        self._rows[item_id].begun = begun
        return item


@caught_by("test_begin_counts_once_a_hold", "test_who_puts_an_item_begins_it")
class CountsFailures(MemoryInbox):
    """Counts attempts when they fail, so that those that kill the process do not count."""

    def _begin(self, item):
        return self._held(item) is not None


@caught_by("test_who_puts_an_item_begins_it")
class HoldsForTakersOnly(MemoryInbox):
    """Does not know the token that an item was put with."""

    async def put(self, items, lease):
        await super().put([replace(item, token="") for item in items], lease)


@caught_by("test_runs_that_never_ended_are_counted", "test_cut_off_runs_are_counted_anew")
class SuspectsNothing(MemoryInbox):
    """Does not count what began as cut off."""

    def _begin(self, item):
        begun = super()._begin(item)
        if begun:
            row = self._rows[item.id]
            row.item = replace(row.item, cut_off=0)
        return begun


class TakesNothingOff(MemoryInbox):
    """Counts as cut off what began in a hold that has ended."""

    async def _leaving(self, item, end):
        held = self._held(item)
        begun = held.begun if held is not None else False
        answer = await end
        row = self._row(item.id)
        row.item = replace(row.item, cut_off=row.item.cut_off + begun)
        return answer


@caught_by("test_run_whose_end_is_told_is_not_cut_off")
class CutsOffByRetry(TakesNothingOff):
    """Counts a failed run as one that never ended."""

    async def retry(self, item, after, attempt):
        return await self._leaving(item, super().retry(item, after, attempt))


@caught_by("test_run_whose_end_is_told_is_not_cut_off")
class CutsOffByDeferral(TakesNothingOff):
    """Counts a run that was put off as one that never ended."""

    async def defer(self, item, after):
        return await self._leaving(item, super().defer(item, after))


@caught_by("test_run_whose_end_is_told_is_not_cut_off")
class CutsOffByBurial(TakesNothingOff):
    """Counts the last run as one that never ended."""

    async def bury(self, item, attempt):
        return await self._leaving(item, super().bury(item, attempt))


@caught_by("test_runs_that_never_ended_are_counted", "test_run_whose_end_is_told_is_not_cut_off")
class ForgivesByRetry(MemoryInbox):
    """Takes a run that fails for a proof that none was ever cut off."""

    async def retry(self, item, after, attempt):
        answer = await super().retry(item, after, attempt)
        row = self._rows.get(item.id)
        if answer and row is not None:
            row.item = replace(row.item, cut_off=0)
        return answer


@caught_by("test_begin_does_not_move_the_due_time")
class BeginRenews(MemoryInbox):
    """Gives the lease of somebody's choice to whoever begins."""

    def _begin(self, item):
        begun = super()._begin(item)
        if begun:
            self._move(item.id, 3600.0)
        return begun


@caught_by("test_deferred_item_waits", "test_deferral_may_be_changed")
class DefersAtOnce(MemoryInbox):
    """Lets deferred items come due at once."""

    async def defer(self, item, after):
        return await super().defer(item, 0.0)


@caught_by("test_deferred_item_waits", "test_everything_is_found")
class MarksNoDeferral(MemoryInbox):
    """Forgets that a deferral was recorded."""

    async def defer(self, item, after):
        deferred = await super().defer(item, after)
        if deferred:
            row = self._rows[item.id]
            row.item = replace(row.item, deferred=False)
        return deferred


@caught_by("test_deferral_may_be_changed")
class DefersOnce(MemoryInbox):
    """Ends the hold with a deferral."""

    async def defer(self, item, after):
        deferred = await super().defer(item, after)
        if deferred:
            self._rows[item.id].held = False
        return deferred


@caught_by("test_deferral_takes_the_attempt_back")
class CountsDeferrals(MemoryInbox):
    """Counts an attempt that was put off."""

    async def defer(self, item, after):
        row = self._held(item)
        if row is not None:
            row.begun = False
        return await super().defer(item, after)


@caught_by("test_deferral_takes_the_attempt_back")
class TakesBackTwice(MemoryInbox):
    """Takes the attempt back again when a deferral is repeated."""

    async def defer(self, item, after):
        row = self._held(item)
        begun = row is not None and row.begun
        deferred = await super().defer(item, after)
        if begun:
            self._rows[item.id].begun = True
        return deferred


@caught_by("test_deferral_of_what_was_not_begun_counts_nothing")
class TakesBackWhatOthersBegan(MemoryInbox):
    """Takes an attempt back that this hold did not begin."""

    async def defer(self, item, after):
        row = self._held(item)
        if row is not None and row.item.attempts:
            row.begun = True
        return await super().defer(item, after)


@caught_by("test_retried_item_waits", "test_next_due_follows_retries_and_deferrals")
class RetriesAtOnce(MemoryInbox):
    """Knows no back-off."""

    async def retry(self, item, after, attempt):
        return await super().retry(item, 0.0, attempt)


@caught_by("test_retried_item_waits")
class RetriesByDeferral(MemoryInbox):
    """Marks a retry as a deferral."""

    async def retry(self, item, after, attempt):
        await self.defer(item, after)
        return await super().retry(item, after, attempt)


@caught_by("test_history_is_kept_as_it_was", "test_buried_item_is_dead")
class KeepsTheFirstErrors(MemoryInbox):
    """Adds no attempt to the history when it buries."""

    async def bury(self, item, attempt):
        buried = await super().bury(item, attempt)
        grave = self._graves.get(item.id)
        if grave is not None:
            grave.item = replace(grave.item, history=grave.item.history[:-1])
        return buried


class RewritesAttempts(MemoryInbox):
    def rewrite(self, attempt):
        raise NotImplementedError

    async def retry(self, item, after, attempt):
        return await super().retry(item, after, self.rewrite(attempt))

    async def bury(self, item, attempt):
        return await super().bury(item, self.rewrite(attempt))


@caught_by("test_history_is_kept_as_it_was")
class RoundsTimes(RewritesAttempts):
    """Keeps times in whole milliseconds."""

    def rewrite(self, attempt):
        return replace(attempt, at=round(attempt.at, 3), duration=round(attempt.duration, 3))


@caught_by("test_any_text_is_an_error")
class CutsErrors(RewritesAttempts):
    """Keeps a thousand characters of an error."""

    def rewrite(self, attempt):
        return replace(attempt, error=attempt.error[:1_000])


@caught_by("test_history_is_kept_as_it_was")
class NewestAttemptFirst(MemoryInbox):
    """Puts the last attempt in front."""

    async def retry(self, item, after, attempt):
        answer = await super().retry(item, after, attempt)
        if answer:
            row = self._rows[item.id]
            row.item = replace(row.item, history=row.item.history[::-1])
        return answer


@caught_by("test_repeated_retry_adds_nothing", "test_retry_ends_the_hold")
class HoldsAfterARetry(MemoryInbox):
    """Does not end the hold with a retry."""

    async def retry(self, item, after, attempt):
        answer = await super().retry(item, after, attempt)
        if answer:
            self._rows[item.id].held = True
        return answer


@caught_by("test_repeated_retry_adds_nothing")
class RetriesOnce(MemoryInbox):
    """Refuses a retry whose first answer was lost."""

    async def retry(self, item, after, attempt):
        return self._held(item) is not None and await super().retry(item, after, attempt)


@caught_by("test_equal_attempts_of_two_holds_are_two")
class TellsRepetitionsByTheirText(MemoryInbox):
    """Takes an attempt like the last one for a repetition of it."""

    async def retry(self, item, after, attempt):
        row = self._held(item)
        if row is not None and row.item.history[-1:] == (attempt,):
            self._move(item.id, after)
            return True
        return await super().retry(item, after, attempt)


@caught_by("test_buried_item_is_dead", "test_everything_is_found")
class BuriesForAWhile(MemoryInbox):
    """Lets what is buried come due again."""

    async def bury(self, item, attempt):
        return await self.retry(item, 0.0, attempt)


@caught_by("test_repeated_burial_adds_nothing")
class BuriesOnce(MemoryInbox):
    """Refuses a burial whose first answer was lost."""

    async def bury(self, item, attempt):
        return self._held(item) is not None and await super().bury(item, attempt)


@caught_by("test_repeated_burial_adds_nothing")
class BuriesTwice(MemoryInbox):
    """Adds the attempt again when a burial is repeated."""

    async def bury(self, item, attempt):
        grave = self._graves.get(item.id)
        if grave is not None and grave.item.token == item.token:
            grave.fail(attempt)
        return await super().bury(item, attempt)


@caught_by("test_burial_ends_the_hold")
class RevivesByRetry(MemoryInbox):
    """Lets who buried an item bring it back."""

    async def retry(self, item, after, attempt):
        grave = self._graves.get(item.id)
        if grave is not None and grave.item.token == item.token:
            await self.requeue([item.id])
            return True
        return await super().retry(item, after, attempt)

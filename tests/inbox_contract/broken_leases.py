"""Inboxes with one fault each in when items come due."""

from msgspec.structs import replace

from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by

FOR_EVER = 1e9


class KnowsDueTimes(MemoryInbox):
    def due(self, item_id):
        moves = self._schedule._moves
        return min(due for due, number, each in moves if self.is_now(number, each))

    def is_now(self, number, item_id):
        return self._schedule._present.get(item_id) == number


@caught_by("test_held_item_is_not_due", "test_next_due_is_the_first_of_all")
class PutsWithoutLease(MemoryInbox):
    """Leaves every item to whoever comes first."""

    async def put(self, items, lease):
        await super().put(items, 0.0)


@caught_by("test_item_comes_due_after_its_lease")
class ForgetsWhatIsPut(MemoryInbox):
    """Never looks again at what its process was to run."""

    async def put(self, items, lease):
        await super().put(items, FOR_EVER if lease else 0.0)


@caught_by("test_item_without_lease_is_due_at_once")
class HoldsForASecond(MemoryInbox):
    """Rounds leases up."""

    async def put(self, items, lease):
        await super().put(items, max(1.0, lease))


@caught_by("test_taken_item_is_held")
class TakesWithoutLease(MemoryInbox):
    """Hands an item to everybody who asks."""

    async def take(self, limit, lease):
        return await super().take(limit, 0.0)


@caught_by("test_taken_item_comes_due_after_its_lease")
class TakesForGood(MemoryInbox):
    """Forgets what it has handed over once."""

    async def take(self, limit, lease):
        return await super().take(limit, FOR_EVER)


@caught_by("test_every_hold_has_a_token_of_its_own", "test_former_holder_is_refused")
class KeepsTheToken(MemoryInbox):
    """Hands items over under the token they had."""

    def _hand_over(self, item_id, lease):
        token = self._rows[item_id].item.token
        item = super()._hand_over(item_id, lease)
        self._rows[item_id].item = item = replace(item, token=token)
        return item


@caught_by("test_one_take_hands_an_item_over_once")
class TakesOneByOne(MemoryInbox):
    """Asks again for each item of a batch."""

    async def take(self, limit, lease):
        taken = []
        for _ in range(limit):
            taken.extend(await super().take(1, lease))
        return taken


@caught_by("test_take_respects_its_limit")
class TakesEverything(MemoryInbox):
    """Hands over whatever is due."""

    async def take(self, limit, lease):
        return await super().take(1_000, lease)


@caught_by("test_take_respects_its_limit")
class TakesAtLeastOne(MemoryInbox):
    """Looks at the limit after the first item."""

    async def take(self, limit, lease):
        return await super().take(max(1, limit), lease)


@caught_by("test_longest_due_come_first")
class TakesTheNewestFirst(MemoryInbox):
    """Lets the oldest starve while new ones come."""

    async def take(self, limit, lease):
        now = self._clock.monotonic()
        due = self._schedule.pop_due(now, 1_000, bool)[::-1]
        for each in due[limit:]:
            self._schedule.move(each, now)
        return [self._hand_over(each, lease) for each in due[:limit]]


@caught_by("test_longest_due_come_first")
class AnswersInNoOrder(MemoryInbox):
    """Chooses well and returns the rows as the update happened to meet them."""

    async def take(self, limit, lease):
        return (await super().take(limit, lease))[::-1]


@caught_by("test_repeated_put_keeps_the_due_time", "test_put_again_leaves_the_next_holder")
class PutMovesDueTimes(MemoryInbox):
    """Treats a repeated put as a new lease."""

    async def put(self, items, lease):
        await super().put(items, lease)
        for item in items:
            if item.id in self._rows:
                self._move(item.id, lease)


@caught_by("test_repeated_put_keeps_the_first_item")
class PutOverwrites(MemoryInbox):
    """Keeps what came last under an id."""

    async def put(self, items, lease):
        await super().put(items, lease)
        for item in items:
            if item.id in self._rows:
                self._rows[item.id].item = replace(
                    self._rows[item.id].item, delivery=item.delivery, key=item.key
                )


@caught_by("test_repeated_put_keeps_the_first_item")
class PutOverwritesTokens(MemoryInbox):
    """Lets whoever puts an item hold it, and nobody who did so before."""

    async def put(self, items, lease):
        await super().put(items, lease)
        for item in items:
            if item.id in self._rows:
                self._rows[item.id].item = replace(self._rows[item.id].item, token=item.token)


@caught_by("test_put_again_leaves_the_next_holder")
class PutStartsAnew(MemoryInbox):
    """Replaces a row that is already there."""

    async def put(self, items, lease):
        for item in items:
            self._rows.pop(item.id, None)
        await super().put(items, lease)


@caught_by("test_put_again_leaves_a_dead_letter", "test_known_items_of_a_batch_stay")
class PutRevives(MemoryInbox):
    """Looks for known items only among those that wait."""

    async def put(self, items, lease):
        for item in items:
            self._graves.pop(item.id)
        await super().put(items, lease)


@caught_by("test_renewed_item_is_not_due")
class RenewsNothing(MemoryInbox):
    """Confirms renewals without making them."""

    def _renew(self, item, lease):
        return self._held(item) is not None


@caught_by("test_renewal_sets_the_lease_from_now")
class AddsUpLeases(KnowsDueTimes):
    """Adds a renewal to the lease that was left."""

    def _renew(self, item, lease):
        left = self.due(item.id) - self._clock.monotonic() if item.id in self._rows else 0.0
        return super()._renew(item, lease + left)


@caught_by("test_due_item_is_its_holders_until_it_is_taken")
class FencesByTime(KnowsDueTimes):
    """Takes an item from its holder as soon as its lease runs out."""

    def _held(self, item):
        row = super()._held(item)
        late = row is not None and self.due(item.id) <= self._clock.monotonic()
        return None if late else row


@caught_by("test_nothing_is_next_in_an_empty_inbox")
class NeverRests(MemoryInbox):
    """Says that something is due where nothing waits."""

    async def next_due(self):
        return await super().next_due() or 0.0


@caught_by("test_nothing_is_next_in_an_empty_inbox")
class WaitsForTheDead(MemoryInbox):
    """Counts dead letters among what comes due."""

    async def next_due(self):
        return 0.0 if list(self._graves.rows()) else await super().next_due()


@caught_by("test_next_due_is_the_first_of_all")
class TellsNegativeWaits(MemoryInbox):
    """Tells since when an item is due."""

    async def next_due(self):
        first = self._schedule.first()
        return None if first is None else first - self._clock.monotonic()


@caught_by("test_next_due_is_the_first_of_all")
class WaitsForTheLast(MemoryInbox):
    """Tells when the last of all comes due."""

    async def next_due(self):
        dues = [due for due, number, each in self._schedule._moves]
        return max(0.0, max(dues) - self._clock.monotonic()) if dues else None


@caught_by("test_next_due_follows_retries_and_deferrals")
class RemembersTheFirstWait(MemoryInbox):
    """Keeps its answer and does not notice what is put off."""

    _wait = None

    async def next_due(self):
        self._wait = await super().next_due() if self._wait is None else self._wait
        return self._wait

"""Inboxes with one fault each in whose items they hand over."""

from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by


@caught_by("test_take_of_a_source_leaves_the_others", "test_take_of_a_source_of_any_name")
class IgnoresSources(MemoryInbox):
    """Hands over whatever is due."""

    async def take(self, limit, lease, *, sources=None):
        return await super().take(limit, lease)


@caught_by("test_take_of_a_source_leaves_the_others")
class GivesBackWhatItTook(MemoryInbox):
    """Takes of all, and lets those come due again that are not wanted: their holder loses them."""

    async def take(self, limit, lease, *, sources=None):
        taken = await super().take(limit, lease)
        unwanted = [item for item in taken if sources and item.delivery.source not in sources]
        await self.renew(unwanted, 0.0)
        return [item for item in taken if item not in unwanted]


@caught_by("test_take_of_a_source_finds_it_behind_others")
class LooksAtTheFirstThousand(MemoryInbox):
    """Finds nothing behind what nobody takes."""

    async def take(self, limit, lease, *, sources=None):
        now, looked_at = self._clock.monotonic(), iter(range(1_000))
        due = self._schedule.pop_due(now, limit, lambda each: self._is_of(each, sources, looked_at))
        return [self._hand_over(each, lease) for each in due]

    def _is_of(self, item_id, sources, looked_at):
        source = self._rows[item_id].item.delivery.source
        return next(looked_at, None) is not None and (sources is None or source in sources)


@caught_by("test_take_of_a_source_respects_its_limit")
class TakesAPortionOfASource(MemoryInbox):
    """Hands over all that is wanted of what it looks at in one go."""

    async def take(self, limit, lease, *, sources=None):
        return await super().take(1_000 if sources and limit else limit, lease, sources=sources)


@caught_by("test_take_of_no_source_takes_nothing")
class TakesNoneForAll(MemoryInbox):
    """Does not tell no source from any."""

    async def take(self, limit, lease, *, sources=None):
        return await super().take(limit, lease, sources=sources or None)


@caught_by("test_take_of_a_source_of_any_name")
class ComparesWithoutCase(MemoryInbox):
    """Looks sources up as a database does whose collation is for people."""

    async def take(self, limit, lease, *, sources=None):
        names = {row.item.delivery.source for row in self._rows.values()}
        wanted = sources and {name for name in names if name.lower() in map(str.lower, sources)}
        return await super().take(limit, lease, sources=wanted)

"""Inboxes with one fault each in what they find."""

import re
from dataclasses import replace
from fnmatch import fnmatch

from msgspec import structs

from webhook_dedup.contracts import Sought
from webhook_dedup.inbox.memory import MemoryInbox, _admits

from .faults import caught_by


class Admits(MemoryInbox):
    """Admits by a rule of its own."""

    def admits(self, sought, item, now):
        raise NotImplementedError

    def _admitted(self, sought):
        now = self._clock.time()
        rows = (*self._rows.values(), *self._graves.rows())
        return [row.item for row in rows if self.admits(sought, row.item, now)]


@caught_by("test_everything_is_found", "test_filters_are_combined", "test_pages_of_a_filter")
class AsksForNoState(Admits):
    """Lists dead and waiting items alike."""

    def admits(self, sought, item, now):
        return _admits(replace(sought, state=None), item, now)


@caught_by("test_everything_is_found", "test_purged_items_are_gone")
class FindsTheDeadByDefault(Admits):
    """Lists only dead letters where no state is asked for."""

    def admits(self, sought, item, now):
        return _admits(replace(sought, state=sought.state or "dead"), item, now)


@caught_by("test_nothing_is_found_in_an_empty_inbox")
class FindsWhatIsGone(MemoryInbox):
    """Keeps what is done in its lists."""

    def __init__(self, **options):
        super().__init__(**options)
        self._put = []

    async def put(self, items, lease):
        self._put.extend(items)
        await super().put(items, lease)

    def _admitted(self, sought):
        return [item for item in self._put if _admits(sought, item, self._clock.time())]


@caught_by("test_items_of_a_source")
class FoldsSources(Admits):
    """Finds sources without regard to case."""

    def admits(self, sought, item, now):
        same = (sought.source or "").casefold() == item.delivery.source.casefold()
        return _admits(replace(sought, source=None), item, now) and (same or sought.source is None)


@caught_by("test_items_of_a_source")
class TakesNoNameForAnyName(Admits):
    """Lists all sources where the empty one is asked for."""

    def admits(self, sought, item, now):
        return _admits(replace(sought, source=sought.source or None), item, now)


@caught_by("test_items_of_an_event")
class FindsEventsByTheirBeginning(Admits):
    """Finds event ids that begin alike."""

    def admits(self, sought, item, now):
        alike = item.event_id.startswith(sought.event_id or "")
        return alike and _admits(replace(sought, event_id=None), item, now)


@caught_by("test_items_of_an_event")
class TakesIdsForPatterns(Admits):
    """Gives event ids to LIKE."""

    def admits(self, sought, item, now):
        pattern = re.escape(sought.event_id or "%").replace("%", ".*").replace("_", ".")
        alike = re.fullmatch(pattern, item.event_id)
        return bool(alike) and _admits(replace(sought, event_id=None), item, now)


@caught_by("test_items_of_an_age")
class SwapsAges(Admits):
    """Takes older for younger."""

    def admits(self, sought, item, now):
        swapped = replace(sought, older_than=sought.younger_than, younger_than=sought.older_than)
        return _admits(swapped, item, now)


@caught_by("test_items_of_an_age")
class AgesFromThePut(Admits):
    """Reckons the age from when the row was made."""

    def admits(self, sought, item, now):
        delivery = structs.replace(item.delivery, received_at=now)
        return _admits(sought, structs.replace(item, delivery=delivery), now)


@caught_by("test_items_with_an_error")
class MindsCase(Admits):
    """Finds errors in the case they were written in."""

    def admits(self, sought, item, now):
        last = item.history[-1].error if item.history else ""
        found = sought.error is None or sought.error in last
        return found and _admits(sought, item, now)


@caught_by("test_items_with_an_error")
class FindsWholeErrors(Admits):
    """Finds an error only by all of its text."""

    def admits(self, sought, item, now):
        last = item.history[-1].error if item.history else ""
        return (sought.error or last) == last and _admits(sought, item, now)


@caught_by("test_items_with_an_error")
class FindsNothingInNoError(Admits):
    """Takes an item that never failed for one with an empty error."""

    def admits(self, sought, item, now):
        last = item.history[-1].error if item.history else ""
        found = sought.error is None or sought.error.casefold() in last.casefold()
        return found and _admits(replace(sought, error=None), item, now)


@caught_by("test_only_the_last_error_counts")
class FindsOldErrors(Admits):
    """Looks through the whole history."""

    def admits(self, sought, item, now):
        text = " ".join(each.error for each in item.history).casefold()
        found = sought.error is None or sought.error.casefold() in text
        return found and _admits(replace(sought, error=None), item, now)


@caught_by("test_error_text_is_no_pattern")
class TakesErrorsForPatterns(Admits):
    """Gives the text to a matcher of patterns."""

    def admits(self, sought, item, now):
        last = item.history[-1].error if item.history else ""
        found = sought.error is None or fnmatch(last, f"*{sought.error}*")
        return found and _admits(replace(sought, error=None), item, now)


@caught_by("test_any_text_is_found")
class EncodesStrictly(MemoryInbox):
    """Fails on text that is not valid UTF-8."""

    async def find(self, sought, *, limit=100, after=""):
        (sought.error or "").encode()
        return await super().find(sought, limit=limit, after=after)


@caught_by("test_filters_are_combined")
class AdmitsByAnyField(Admits):
    """Lists what matches one of the fields."""

    def admits(self, sought, item, now):
        fields = {name: getattr(sought, name) for name in Sought.__slots__}
        given = [Sought(**{name: value}) for name, value in fields.items() if value is not None]
        return not given or any(_admits(each, item, now) for each in given)


@caught_by("test_oldest_are_found_first")
class ListsInOrderOfPut(MemoryInbox):
    """Lists items as they were recorded."""

    async def find(self, sought, *, limit=100, after=""):
        return list(self._admitted(sought))[:limit]


@caught_by("test_pages_are_without_loss_or_repetition")
class PagesByTimeAlone(MemoryInbox):
    """Goes on after the time of the last item, and loses those of the same time."""

    async def find(self, sought, *, limit=100, after=""):
        last = self._row(after)
        found = await super().find(sought, limit=10_000)
        begin = last.item.delivery.received_at if last else float("-inf")
        return [item for item in found if item.delivery.received_at > begin][:limit]


@caught_by("test_pages_are_without_loss_or_repetition")
class NeverTurnsThePage(MemoryInbox):
    """Begins with the first page again and again."""

    async def find(self, sought, *, limit=100, after=""):
        return await super().find(sought, limit=limit)


@caught_by("test_pages_of_a_filter")
class FiltersPages(MemoryInbox):
    """Cuts the page before it filters, so that a page may be empty before the end."""

    async def find(self, sought, *, limit=100, after=""):
        page = await super().find(Sought(), limit=limit, after=after)
        return [item for item in page if _admits(sought, item, self._clock.time())]


@caught_by("test_pages_go_on_while_items_change", "test_pages_lose_nothing_when_items_go")
class CountsPages(MemoryInbox):
    """Skips as many items as it has shown."""

    shown = 0

    async def find(self, sought, *, limit=100, after=""):
        self.shown = self.shown if after else 0
        page = (await super().find(sought, limit=10_000))[self.shown : self.shown + limit]
        self.shown += len(page)
        return page


@caught_by("test_pages_go_on_though_their_last_item_leaves")
class BeginsAnewWhereTheLastItemLeft(MemoryInbox):
    """Looks for the place of the last item among those that are sought."""

    async def find(self, sought, *, limit=100, after=""):
        is_there = any(item.id == after for item in self._admitted(sought))
        return await super().find(sought, limit=limit, after=after if is_there else "")


@caught_by("test_pages_lose_nothing_when_items_go")
class EndsWhereTheLastItemWent(MemoryInbox):
    """Finds nothing after an item that is gone."""

    async def find(self, sought, *, limit=100, after=""):
        if after and self._row(after) is None:
            return []
        return await super().find(sought, limit=limit, after=after)

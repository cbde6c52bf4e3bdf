"""Inboxes with one fault each in what they keep of a delivery."""

from msgspec.structs import replace

from webhook_dedup.inbox.memory import MemoryInbox

from .faults import caught_by
from .spoilable import SpoilableInbox


class RewritesItems(MemoryInbox):
    def rewrite(self, item):
        raise NotImplementedError

    async def put(self, items, lease):
        await super().put([self.rewrite(item) for item in items], lease)


@caught_by("test_past_of_an_item_comes_back")
class PutsEverythingAnew(RewritesItems):
    """Takes whatever is put for a delivery that has just arrived."""

    def rewrite(self, item):
        return replace(item, attempts=0, cut_off=0, deferred=False, history=())


class RewritesDeliveries(RewritesItems):
    def fields(self, delivery):
        raise NotImplementedError

    def rewrite(self, item):
        return replace(item, delivery=replace(item.delivery, **self.fields(item.delivery)))


@caught_by("test_bodies_come_back")
class KeepsBodiesAsText(RewritesDeliveries):
    """Keeps a body as text."""

    def fields(self, delivery):
        return {"body": delivery.body.decode("utf-8", "replace").encode()}


@caught_by("test_bodies_come_back")
class HandsOutViews(RewritesDeliveries):
    """Hands a body out as its driver does."""

    def fields(self, delivery):
        return {"body": memoryview(delivery.body)}


@caught_by("test_headers_come_back")
class KeepsHeadersInADict(RewritesDeliveries):
    """Keeps the last of repeated headers."""

    def fields(self, delivery):
        return {"headers": tuple(dict(delivery.headers).items())}


@caught_by("test_headers_come_back")
class KeepsHeadersAsText(RewritesDeliveries):
    """Takes header bytes for UTF-8."""

    def fields(self, delivery):
        headers = delivery.headers
        return {"headers": tuple((k, v.decode("utf-8", "replace").encode()) for k, v in headers)}


@caught_by("test_headers_come_back")
class SortsHeaders(RewritesDeliveries):
    """Keeps headers in the order of their names."""

    def fields(self, delivery):
        return {"headers": tuple(sorted(delivery.headers))}


@caught_by("test_every_field_comes_back")
class TakesEmptyForAbsent(RewritesDeliveries):
    """Does not tell an empty raw path from none."""

    def fields(self, delivery):
        return {"raw_path": delivery.raw_path or None}


@caught_by("test_every_field_comes_back")
class ForgetsPathParams(RewritesDeliveries):
    """Keeps nothing of what routers took from the path."""

    def fields(self, delivery):
        return {"path_params": {}}


@caught_by("test_every_field_comes_back")
class RoundsArrivals(RewritesDeliveries):
    """Keeps times in whole milliseconds."""

    def fields(self, delivery):
        return {"received_at": round(delivery.received_at, 3)}


@caught_by("test_any_text_is_kept", "test_any_text_is_found")
class StripsNUL(RewritesItems):
    """Keeps text without what a column does not take."""

    def rewrite(self, item):
        return replace(item, event_id=item.event_id.replace("\0", ""))


@caught_by("test_any_text_is_kept")
class CutsKeys(RewritesItems):
    """Keeps the printable beginning of a key."""

    def rewrite(self, item):
        return replace(item, key=item.key[:400])


@caught_by("test_any_text_is_a_batch", "test_any_text_is_kept")
class EncodesStrictly(RewritesItems):
    """Fails on text that is not valid UTF-8."""

    def rewrite(self, item):
        item.event_id.encode()
        return item


@caught_by("test_unreadable_row_is_set_aside")
class FailsOnUnreadableRows(SpoilableInbox):
    """Lets one bad row stop all."""

    async def set_aside(self, item):
        raise ValueError(item.id)


@caught_by("test_unreadable_row_is_set_aside")
class DropsUnreadableRows(SpoilableInbox):
    """Deletes what it cannot read."""

    async def set_aside(self, item):
        await super().set_aside(item)
        self._graves.pop(item.id)


@caught_by("test_unreadable_row_is_set_aside")
class SetsAsideInSilence(SpoilableInbox):
    """Tells nobody what it cannot read."""

    async def set_aside(self, item):
        await self.shelve([item.id], "unreadable")


@caught_by("test_unreadable_row_is_set_aside")
class TakesUnreadableRowsAgain(SpoilableInbox):
    """Skips a bad row, which comes due again for ever."""

    async def set_aside(self, item):
        await self.defer(item, 0.0)

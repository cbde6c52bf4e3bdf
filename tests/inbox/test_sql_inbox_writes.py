"""What the verbs of the SQL inbox cost a Postgres."""

from sqlalchemy import text

from tests.inbox.sql_support import TABLE, meddle, opened
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.timed import LONG_LEASE

MANY = 60


async def test_only_verbs_that_may_be_undone_return_before_the_disk_has_them(postgres_url):
    """After a batch was counted or removed, the next statement of the connection waits again."""
    async with opened(postgres_url) as inbox:
        items = [an_item() for _ in range(3)]
        await inbox.put(items, LONG_LEASE)
        assert await inbox.begin(items) == [True] * 3
        assert await _commits(inbox) == "on"
        await inbox.done(items)
        assert await _commits(inbox) == "on"


async def test_counting_an_attempt_touches_no_index(postgres_url):
    """The new version of a row lies on the page of the old one, where the indexes find it."""
    async with opened(postgres_url) as inbox:
        items = [an_item() for _ in range(MANY)]
        await inbox.put(items, LONG_LEASE)
        assert await inbox.begin(items) == [True] * MANY
        await meddle(inbox, "SELECT pg_stat_force_next_flush()")
        counted = await meddle(
            inbox,
            f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname='{TABLE}'",
        )
        assert counted.one() == (MANY, MANY)


async def _commits(inbox):
    async with inbox._database.engine.connect() as connection:
        return await connection.scalar(text("SHOW synchronous_commit"))

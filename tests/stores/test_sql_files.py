"""A file that does not stay where it was."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.stores.sql_support import opened
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, a_key, claim


@pytest.fixture
def path(tmp_path):
    directory = tmp_path / "a"
    directory.mkdir()
    return directory / "claims.db"


def removed(path):
    path.unlink()


def renamed(path):
    path.rename(path.with_name("old.db"))


def removed_with_all_beside_it(path):
    shutil.rmtree(path.parent)


def replaced_by_a_backup(path):
    backup = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as other:
        other.execute("VACUUM INTO ?", [str(backup)])
    backup.replace(path)


HARMS = [removed, renamed, removed_with_all_beside_it, replaced_by_a_backup]


@pytest.mark.parametrize("harm", HARMS)
async def test_what_nobody_would_find_again_is_not_accepted(path, harm):
    """SQLite itself goes on with a file that has no name, and takes what is lost with the process.

    Other processes would claim the same keys in another file.
    """
    async with opened(f"sqlite:///{path}") as store:
        inbox = SqlInbox.beside(store)
        await inbox.put([an_item()], 0.0)
        assert (await claim(store, a_key())).fresh
        harm(path)
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await inbox.put([an_item()], LONG_LEASE)
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await claim(store, a_key())
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await inbox.take(1, LONG_LEASE)


async def test_a_file_that_comes_back_is_used_again(path):
    """Nothing was written to it meanwhile, so nothing is missing."""
    async with opened(f"sqlite:///{path}") as store:
        inbox = SqlInbox.beside(store)
        await inbox.put([an_item()], 0.0)
        renamed(path)
        with pytest.raises(StoreUnavailable):
            await inbox.put([an_item()], 0.0)
        path.with_name("old.db").rename(path)
        await inbox.put([an_item()], 0.0)
        assert len(await inbox.take(10, LONG_LEASE)) == 2

"""Commands find an app's store and its inbox wherever the app keeps them."""

from contextlib import aclosing

import pytest

from tests.cli.operating import command, item
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.stores.sql import SqlStore


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_a_table_of_ones_own(url):
    """A URL that names the table leads every command to what an argument of that name made."""
    async with aclosing(SqlStore.from_url(url, table="shop_claims")) as store:
        await store.start()
        inbox = SqlInbox.beside(store)
        await inbox.put([item()], 60)
        await inbox.aclose()
    named = f"{url}?table=shop_claims"
    assert "1 of 1" in (await command("inbox", "list", url=named)).stdout
    assert (await command("why", "evt_1", "--source", "stripe", url=named)).exit_code == 0
    assert (await command("doctor", "--max-age", "9999d", url=named)).exit_code == 0
    assert (await command("inbox", "list", url=url)).exit_code == 1

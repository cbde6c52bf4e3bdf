"""What every event is named by."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from msgspec.structs import asdict, replace

from webhook_dedup.model import Key, new_id, new_token


def test_ids_are_distinct_and_fit_every_store():
    """Ids are 32 hexadecimal digits, and a token of a row begins with the row's id."""
    ids = {new_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)
    assert new_token("row").startswith("row.")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_process_makes_other_ids():
    """Servers that fork their workers after the import do not give two events one token."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 64).decode() != new_id()


def test_a_key_is_made_of_its_three_parts_only():
    """A key copies, pickles and changes by its parts, and its text always says what they are."""
    key = Key("webhook:shop", "evt_1", tenant="t")
    assert asdict(key) == {"scope": "webhook:shop", "event_id": "evt_1", "tenant": "t"}
    for same in (Key(**asdict(key)), copy.copy(key), pickle.loads(pickle.dumps(key))):
        assert (same, hash(same), str(same)) == (key, hash(key), str(key))
    other = replace(key, event_id="evt_2")
    assert (other, str(other)) == (Key("webhook:shop", "evt_2", "t"), "12:webhook:shop:1:t:evt_2")

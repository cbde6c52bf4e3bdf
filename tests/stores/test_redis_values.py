"""How a claim is written into Redis: nothing is lost, and keys never meet."""

import math
from datetime import timedelta

import pytest

from webhook_dedup.stores.entry import Entry
from webhook_dedup.stores.redis.values import (
    claim_text,
    milliseconds,
    parse,
    redis_key,
    result_tail,
    token_field,
)

ASCII = "".join(map(chr, range(128)))
TOKENS = ["abc-1.F", "", "two words", "line\nbreak", "100%", "\u00e9\ud800\0", "held x 1 -", ASCII]
FINGERPRINTS = [None, b"", b"-", b"\0\xff\n ", bytes(range(64))]
RESULTS = [None, b"", b"0", b"\n", b"\n\n\0\xff", b" 17"]


def done_value(token, fingerprint, result):
    return b"done %b 99500%b" % (claim_text(token, 1500, fingerprint), result_tail(result))


@pytest.mark.parametrize("fingerprint", FINGERPRINTS)
@pytest.mark.parametrize("token", TOKENS)
def test_held_value(token, fingerprint):
    """A claim reads back as it was written."""
    value = b"held " + claim_text(token, 1500, fingerprint)
    assert parse(value) == Entry(token, 0.0, 1.5, fingerprint)


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("fingerprint", FINGERPRINTS)
@pytest.mark.parametrize("token", TOKENS)
def test_done_value(token, fingerprint, result):
    """A completion reads back as it was written, and no result differs from an empty one."""
    value = done_value(token, fingerprint, result)
    assert parse(value) == Entry(token, 99.5, 1.5, fingerprint, done=True, result=result)


@pytest.mark.parametrize("token", TOKENS)
def test_token_is_one_word(token):
    """What follows a token in a value cannot be mistaken for a part of it."""
    assert token_field(token).isascii()
    assert len(token_field(token).split()) == (1 if token else 0)


@pytest.mark.parametrize(
    "value",
    [b"", b"1", b"held", b"held a 1 - 5", b"done a 1 -", b"held a x -", b"held a 1 -\n", b"\xff"],
)
def test_foreign_value(value):
    """What this library did not write is refused."""
    with pytest.raises(ValueError, match="not a claim"):
        parse(value)


def test_short_key_is_readable():
    """A short key stands in Redis as it is."""
    assert redis_key("p:", "7:webhook:0::evt_1") == b"p:k:7:webhook:0::evt_1"


@pytest.mark.parametrize("key", ["x" * 2000, "\u00e9" * 600, "\ud800" * 400, "a\0{b}\n" * 300])
def test_long_key_is_bounded(key):
    """A long key is cut, and still differs from its neighbours."""
    name = redis_key("p:", key)
    assert len(name) <= 512
    assert name != redis_key("p:", key + "x")
    assert name.startswith(b"p:h:")


def test_short_key_never_equals_a_long_one():
    """A key cannot be made to meet the digest of another."""
    long = redis_key("", "x" * 2000).decode()
    assert redis_key("", long.removeprefix("h:")) != long.encode()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0001, 1),
        (0, 1),
        (-3, 1),
        (0.0011, 2),
        (1.0, 1000),
        (timedelta(days=1).total_seconds(), 86_400_000),
        (math.inf, 10**14),
        (timedelta.max.total_seconds(), 10**14),
    ],
)
def test_milliseconds(seconds, expected):
    """Durations round up to what Redis takes, never to an expiry of nothing."""
    assert milliseconds(seconds) == b"%d" % expected

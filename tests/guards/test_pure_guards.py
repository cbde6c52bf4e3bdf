"""Guards that decide by the event alone."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_dedup import ConfigError, Event
from webhook_dedup.guards import Check, Guards, OneAtATime, Rules, SelfSent

EVENT = Event(None, "agent", "1")


def skipped(guard, data):
    return guard.skips(EVENT, data) is not None


@pytest.mark.parametrize(
    ("sender", "own"),
    [
        ("agent@example.com", True),
        ("Agent Smith <AGENT@Example.COM>", True),
        ("agent+ticket-7@example.com", True),
        ('"evil@other.example" <agent@example.com>', True),
        (["someone@else.example", "agent@example.com"], True),
        ("robot@agents.example.com", True),
        ("robot@eu.agents.example.com", True),
        ("U0AGENT", True),
        ("secret-agent@example.com", False),
        ("agent@example.com.evil.example", False),
        ("robot@notagents.example.com", False),
        ("agent@example.com <someone@else.example>", False),
        ("", False),
        (None, False),
        ({"address": "agent@example.com"}, False),
        ([], False),
        (17, False),
    ],
)
def test_own_events(sender, own):
    """The agent knows itself by address, sub-address, domain or id, and nobody else."""
    guard = SelfSent(
        "message.from", addresses=["Agent@example.com", "U0AGENT"], domains=["agents.example.com"]
    )
    answer = guard.skips(EVENT, {"message": {"from": sender}})
    assert (answer is not None and answer[0] == "self_sent") is own


def test_own_events_by_function():
    """A function may tell who the agent is."""
    guard = SelfSent("user.id", is_self=lambda sender: sender == "17")
    assert skipped(guard, {"user": {"id": 17}})
    assert not skipped(guard, {"user": {"id": 18}})
    assert not skipped(guard, None)


def test_a_function_is_asked_of_senders_only():
    """What is neither text nor a number is no sender."""
    asked = []
    guard = SelfSent("from", is_self=asked.append)
    assert not skipped(guard, {"from": [None, True, {"id": 1}, "one", 17]})
    assert asked == ["one", "17"]


def test_a_domain_alone_tells_who_the_agent_is():
    """Where all of a domain is the agent's, no address is needed."""
    guard = SelfSent("from", domains=["agents.example.com"])
    assert skipped(guard, {"from": "robot@agents.example.com"})
    assert not skipped(guard, {"from": "someone@example.com"})


@pytest.mark.parametrize(
    "options",
    [{}, {"addresses": "agent@example.com"}, {"domains": [""]}, {"addresses": [1]}],
    ids=str,
)
def test_unknown_self_is_refused(options):
    with pytest.raises(ConfigError, match=r"who the agent is|must be a list"):
        SelfSent("from", **options)


async def asked_for(sender):
    return False


@pytest.mark.parametrize(
    "is_self", [asked_for, partial(asked_for), "me@example.com"], ids=["async", "partial", "text"]
)
def test_self_that_is_never_told_is_refused(is_self):
    """What is to be awaited is true of every sender before it is, and all events were skipped."""
    with pytest.raises(ConfigError, match="plain function"):
        SelfSent("from", is_self=is_self)


DATA = {
    "type": "paid",
    "count": 1,
    "live": True,
    "tags": ["new", "vip"],
    "from": "Ann <ann@mail.example.com>",
    "nothing": None,
}


@pytest.mark.parametrize(
    ("field", "operator", "value", "passes"),
    [
        ("type", "equals", "paid", True),
        ("type", "equals", "PAID", False),
        ("count", "equals", 1, True),
        ("count", "equals", True, False),
        ("live", "equals", 1, False),
        ("live", "equals", True, True),
        ("count", "equals", "1", False),
        ("tags", "equals", "vip", True),
        ("type", "in", ["open", "paid"], True),
        ("count", "in", [True, "1"], False),
        ("type", "prefix", "pa", True),
        ("type", "suffix", "id", True),
        ("count", "prefix", "1", False),
        ("tags", "prefix", "v", True),
        ("from", "domain", "example.com", True),
        ("from", "domain", "ample.com", False),
        ("from", "regex", r"^Ann\b", True),
        ("from", "regex", "ann$", False),
        ("type", "exists", True, True),
        ("type", "exists", False, False),
        ("nothing", "exists", True, False),
        ("absent.deeper", "exists", False, True),
        ("absent", "equals", "x", False),
        ("tags[0]", "equals", "new", True),
    ],
)
def test_operators(field, operator, value, passes):
    """Each test of a field, as JSON compares."""
    rule = {"field": field, "is": operator, "value": value}
    assert skipped(Rules(skip=rule), DATA) is passes
    assert skipped(Rules(keep=rule), DATA) is not passes
    assert skipped(Rules(skip={"not": rule}), DATA) is not passes


def test_quantifiers():
    """Rules are combined by any, all and not, and skip goes before keep."""
    paid = {"field": "type", "is": "equals", "value": "paid"}
    test = {"field": "live", "is": "equals", "value": False}
    assert skipped(Rules(skip={"any": [paid, test]}), DATA)
    assert not skipped(Rules(skip={"all": [paid, test]}), DATA)
    assert not skipped(Rules(keep={"all": [paid, {"not": test}]}), DATA)
    assert skipped(Rules(keep=paid, skip=paid), DATA)


def test_rules_from_json():
    """Rules may come from a file."""
    text = json.dumps({"keep": {"field": "type", "is": "in", "value": ["paid"]}})
    assert not skipped(Rules.from_json(text), DATA)
    assert skipped(Rules.from_json(text), {"type": "open"})
    assert skipped(Rules.from_json(text), None)
    for broken in ("{", "[]", '{"keeps": {}}'):
        with pytest.raises(ConfigError, match="the rules"):
            Rules.from_json(broken)


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"field": "a", "is": "equal", "value": 1}, "did you mean 'equals'"),
        ({"field": "a", "is": "xyz", "value": 1}, "'xyz' is no test; known are equals, in"),
        ({"field": "a", "is": ["equals"], "value": 1}, "is no test"),
        ({"field": "a", "value": 1}, "must have 'field', 'is' and 'value'"),
        ({"field": "a..", "is": "exists", "value": True}, r"skip\.field.*not a valid JMESPath"),
        ({"field": 1, "is": "exists", "value": True}, "must be a JMESPath"),
        ({"any": []}, "at least one rule"),
        ({"any": {"field": "a", "is": "exists", "value": True}}, "list of at least one rule"),
        ({"any": [], "all": []}, "one of 'any', 'all', 'not'; it has \\['all', 'any'\\]"),
        ({"field": "a", "is": "in", "value": []}, "list of at least one value"),
        ({"any": [{"field": "a", "is": "in", "value": "b"}]}, r"skip\.any\[0\]\.value.*list"),
        ({"some": []}, "one of 'any', 'all', 'not'"),
        ({"field": "a", "is": "regex", "value": "("}, "no regular expression"),
        ({"field": "a", "is": "exists", "value": "yes"}, "true or false"),
        ({"field": "a", "is": "equals", "value": None}, "exists"),
        ({"field": "a", "is": "prefix", "value": ""}, "not empty"),
        ({"field": "a", "is": "prefix", "value": 5}, "must be text and not empty, got 5"),
        ("type == paid", "must be a rule"),
    ],
    ids=str,
)
def test_wrong_rules(rule, hint):
    """A wrong rule is refused when it is written, with its place and what to write instead."""
    with pytest.raises(ConfigError, match=hint):
        Rules(skip=rule)


def test_deep_rules_are_refused():
    rule = {"field": "a", "is": "exists", "value": True}
    for _ in range(100):
        rule = {"not": rule}
    with pytest.raises(ConfigError, match="nested"):
        Rules(keep=rule)


def test_rules_without_a_rule_are_refused():
    with pytest.raises(ConfigError, match="keep=… or skip=…"):
        Rules()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(data=json_values, value=json_values)
def test_no_data_breaks_a_rule(data, value):
    """Whatever an event holds, pure guards answer."""
    fields = ("type", "@", "keys", "a[0].b", "*")
    operators = [
        ("prefix", "a"),
        ("regex", "a*"),
        ("domain", "a"),
        ("exists", True),
        ("in", [value]),
    ]
    for field in fields:
        for operator, wanted in operators:
            skipped(Rules(skip={"field": field, "is": operator, "value": wanted}), data)
        skipped(SelfSent(field, addresses=["a"], domains=["a"]), data)


def test_only_guards_are_taken():
    """A class in place of an object, or anything else, is refused."""
    for wrong in (OneAtATime, "lock", Rules, None):
        with pytest.raises(ConfigError, match="guards take objects"):
            Guards([wrong])
    guards = Guards([Check(print), Rules(keep={"field": "a", "is": "exists", "value": True})])
    assert (len(guards.pure), len(guards.stateful)) == (1, 1)

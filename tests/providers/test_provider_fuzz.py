"""Whatever bytes come: the promised errors and no others."""

import contextlib
import functools
import json
import warnings

import jmespath
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_verify import Findings, try_one
from benchmarks.mutations import Mutator
from benchmarks.signed_deliveries import CASES
from webhook_dedup import providers
from webhook_dedup.errors import ConfigError, RejectedDelivery, SignatureError
from webhook_dedup.providers import (
    PRESETS,
    Parsed,
    compile_extractor,
    compile_lenient,
    compile_time,
)
from webhook_dedup.providers.samples import sample_delivery, sample_secret

secret_of = functools.cache(sample_secret)

bounded = settings(max_examples=150, deadline=None, derandomize=True, database=None)

names = st.sampled_from(["generic", "github", "stripe"])
HEADERS = ["X-Signature", "x-hub-signature-256", "Stripe-Signature"]
digests = st.text("0123456789abcdefA", min_size=60, max_size=66)
items = st.one_of(
    st.text(max_size=20),
    st.integers().map(lambda number: f"t={number}"),
    st.integers(1_799_999_000, 1_800_001_000).map(lambda number: f"t={number}"),
    digests.map(lambda digest: f"v1={digest}"),
    digests.map(lambda digest: f"sha256={digest}"),
)
values = st.one_of(
    st.binary(max_size=200), st.text(max_size=200), st.lists(items, max_size=8).map(",".join)
)
headers = st.lists(st.tuples(st.one_of(st.sampled_from(HEADERS), st.text()), values), max_size=6)


@bounded
@given(names, headers, st.binary(max_size=200))
def test_verify_raises_signature_errors_only(name, headers, body):
    """Hostile headers and bodies are refused with a stable code."""
    with contextlib.suppress(SignatureError):
        providers.verify(name, secret="s3cret", headers=headers, body=body, now=1_800_000_000)
        raise AssertionError("nobody guesses a signature")


@bounded
@given(names, st.binary(max_size=200), st.data())
def test_a_changed_signature_raises_signature_errors_only(name, body, data):
    """A genuine header with some bytes replaced is refused, unless it is the same again."""
    ((header, value),) = providers.sign(name, secret="k", body=body, now=1_800_000_000).items()
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, len(value)))
    changed = value[:start].encode() + data.draw(st.binary(max_size=9)) + value[end:].encode()
    try:
        providers.verify(
            name, secret="k", headers=[(header, changed)], body=body, now=1_800_000_000
        )
    except SignatureError as refused:
        assert refused.code.endswith(("_signature", "_mismatch", "_old", "_future"))  # noqa: PT017 - either ending is right
    else:
        assert value.rpartition("=")[2].encode() in changed


@bounded
@given(st.sampled_from(sorted(CASES)), st.integers(0, 2**32))
def test_changed_deliveries_raise_signature_errors_only(name, seed):
    """A genuine delivery of any scheme, changed, is accepted or refused, and nothing else."""
    findings = Findings()
    valid = CASES[name].message()
    mutator = Mutator(seed)
    for _ in range(10):
        try_one(name, valid, mutator.mutate(valid), findings)
    assert {fault for fault in findings.faults if not fault.endswith("slow")} == set()


signed_rows = st.sampled_from([name for name, row in PRESETS.items() if row.scheme])


@bounded
@given(signed_rows, headers, st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=50)))
def test_every_provider_raises_signature_errors_only(name, headers, body, url):
    """Hostile headers, bodies and URLs are refused by every row of the catalog."""
    secret = secret_of(name).verifying
    with contextlib.suppress(SignatureError):
        providers.verify(name, secret=secret, headers=headers, body=body, url=url, now=1.8e9)
        raise AssertionError("nobody guesses a signature")


@bounded
@given(signed_rows, st.integers(0, 2**32))
def test_changed_samples_raise_signature_errors_only(name, seed):
    """A genuine delivery of any provider, changed, is accepted or refused, and nothing else."""
    secret = secret_of(name)
    sample = sample_delivery(name, secret=secret.signing, now=1.8e9)
    raw = providers.raw_headers(sample.headers)
    valid = Parsed(raw, sample.body, url=sample.url, query=sample.query)
    changed = Mutator(seed).mutate(valid)
    with contextlib.suppress(SignatureError):
        providers.verify(
            name,
            secret=secret.verifying,
            headers=changed.headers,
            body=changed.body,
            url=changed.url,
            now=1.8e9,
        )


content_types = st.one_of(
    st.sampled_from(
        [
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=b",
            b"application/json",
        ]
    ),
    st.binary(max_size=60),
    st.binary(max_size=60).map(lambda tail: b"multipart/form-data; boundary=" + tail),
)
pieces = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="id"',
        b"Content-Disposition: form-data; name*=utf-8''%ff",
        b'{"id": ',
        b"[",
        b"}",
        b"1e999",
        b'"\\ud800"',
        b"id=",
        b"%",
        b"&",
        b"\xef\xbb\xbf",
        b"\x00",
    ]
)
bodies = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(pieces, st.binary(max_size=5)), max_size=20).map(b"".join),
)
FINDERS = ["id", "@", "a.b.c", "items[*].id", "length(@)", "form:id", "header:X-Id", "to_string(@)"]


@bounded
@given(st.sampled_from(FINDERS), st.lists(st.tuples(content_types)), bodies)
def test_extractors_raise_rejections_only(expression, kinds, body):
    """Hostile bodies give an id of bounded length, none, or a refusal."""
    parsed = Parsed([(b"content-type", kind) for (kind,) in kinds], body)
    with contextlib.suppress(RejectedDelivery):
        found = compile_extractor(expression)(parsed)
        assert found is None or (found.strip() and len(found) <= 2000)
    compile_lenient(expression)(parsed)
    compile_time(expression)(parsed)


@bounded
@given(st.one_of(st.text(max_size=30), st.text("ab.[]*@|&(){}'`\"01:!<=?", max_size=12)))
def test_expressions_raise_config_errors_only(expression):
    """Any text is an expression or an error of configuration."""
    with warnings.catch_warnings(), contextlib.suppress(ConfigError):
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # jmespath's, on odd literals
        compile_extractor(expression)


documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)


@bounded
@given(documents, st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_dotted_names_mean_what_jmespath_means(document, path):
    """The quick way through dotted names and jmespath find the same."""
    expression = ".".join(path)
    found = []

    def by_jmespath(parsed):
        return jmespath.search(expression, parsed.json())

    for finder in (expression, by_jmespath):
        try:
            found.append(compile_extractor(finder)(Parsed([], json.dumps(document).encode())))
        except RejectedDelivery as refused:
            found.append(refused.detail)
    assert found[0] == found[1]

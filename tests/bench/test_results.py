"""What a run leaves behind, and how it is judged."""

import itertools
from dataclasses import asdict, replace

import pytest

from benchmarks.bench.lab import FULL, QUICK
from benchmarks.bench.labels import GAP, spread
from benchmarks.bench.report import report
from benchmarks.bench.results import KEPT, Answer, Results
from benchmarks.bench.targets import judged

HERE = ("webhook_dedup sqlite", "aiosqlite")


def claims(*figures):
    """Rows of SQLite and of what is compared with it: rate, client's and server's CPU time."""
    rows = [
        {"question": "claims", "who": who, "tasks": 64, "rate": rate, "client_us": client,
         "server_us": server, "p50_ms": 1.0}
        for who, (rate, client, server) in zip(HERE, figures, strict=True)
    ]  # fmt: skip
    return Answer("now", 1.0, (0.0, 0.0), {}, rows)


def test_a_later_run_of_one_question_leaves_the_other_answers(tmp_path):
    """What was asked before and is not asked again stays in the file."""
    first = Results({"cores": 2}, {"claims": claims((2.0, 1.0, None), (1.0, 1.0, None))})
    first.write(tmp_path, [])
    second = Results.read(tmp_path)
    second.answers["http"] = replace(second.answers["claims"], rows=[])
    second.write(tmp_path, [])
    third = Results.read(tmp_path)
    assert list(third.answers) == ["claims", "http"]
    assert third.rows == first.rows


def test_a_quick_answer_is_none_to_a_full_run(tmp_path):
    """What was measured at another size is asked again; at the same size it is not."""
    quick = replace(claims((2.0, 1.0, None), (1.0, 1.0, None)), scale=asdict(QUICK))
    Results({}, {"claims": quick}).write(tmp_path, [])
    kept = Results.read(tmp_path)
    assert kept.answered("claims", asdict(QUICK))
    assert not kept.answered("claims", asdict(FULL))
    assert not kept.answered("http", asdict(QUICK))


@pytest.mark.parametrize(
    ("ours", "theirs", "rate", "cpu", "holds"),
    [
        ((50_000.0, 10.0, None), (10_000.0, 80.0, None), 5.0, 8.0, (True, True)),
        ((20_000.0, 10.0, None), (10_000.0, 80.0, None), 2.0, 8.0, (False, True)),
        ((20_000.0, 10.0, 10.0), (10_000.0, 20.0, 10.0), 2.0, 1.5, (False, False)),
    ],
)
def test_a_target_is_judged_by_rate_and_by_cpu_time(ours, theirs, rate, cpu, holds):
    """Both ratios are told, each with whether it reaches the bound; CPU time is of both ends."""
    (target,) = judged(claims(ours, theirs).rows)
    assert (target["measured"], target["by CPU time"]) == (rate, cpu)
    assert (target["holds"], target["holds by CPU time"]) == holds


def test_what_was_not_asked_is_not_judged():
    """Without rows there is no verdict, neither good nor bad."""
    assert judged([]) == []


def test_the_table_says_why_a_target_holds(tmp_path):
    """A target reached by CPU time alone is not said to be reached by rate."""
    kept = Results.read(KEPT)
    results = Results(kept.machine, {"claims": claims((2.0, 1.0, None), (1.0, 9.0, None))})
    report(tmp_path, results)
    text = (tmp_path / "results.md").read_text()
    assert "| SQLite claims/s against aiosqlite | ≥ 4 | 2.00 | 9.00 | by CPU time |" in text


def test_labels_of_lines_that_end_together_do_not_touch():
    """Names at one height are pushed apart and stay below the top."""
    heights = spread([0.99, 0.99, 0.995, 1.0])
    gaps = [upper - lower for lower, upper in itertools.pairwise(heights)]
    assert min(gaps) >= GAP - 1e-9
    assert max(heights) <= 1.0

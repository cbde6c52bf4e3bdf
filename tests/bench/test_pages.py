"""The pages that quote figures, and the results they quote."""

import re

import pytest

from benchmarks.bench.pages import README, SCALING, readme, scaling
from benchmarks.bench.results import KEPT, Results


@pytest.fixture(scope="module")
def kept():
    return Results.read(KEPT)


def test_the_page_on_scaling_says_what_the_results_say(kept):
    """``docs/scaling.md`` is computed from the results that are kept, and nobody edited it."""
    assert SCALING.read_text() == scaling(kept)


def test_the_readme_says_what_the_results_say(kept):
    """The README's figures are those of the results that are kept."""
    text = README.read_text()
    assert readme(kept, text) == text


def test_a_figure_that_changes_changes_the_page(kept):
    """The page follows its figures: a key twice as large is said to be so."""
    page = scaling(kept)
    for row in kept.rows:
        if row["question"] == "bytes per key":
            row["bytes"] *= 2
    assert scaling(kept) != page


def test_what_the_readme_shows_is_there():
    """Each plot and each file the README's section on speed names exists."""
    section = re.search(r"## Speed\n(.*?)\n## ", README.read_text(), re.DOTALL)
    named = re.findall(r"\]\(([^)#]+)\)", section[1])
    assert len(named) >= 4
    for name in named:
        assert (README.parent / name).exists(), name

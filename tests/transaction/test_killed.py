"""Kill -9 around the commit: the effect and its claim stand or fall together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))


def test_killed_around_the_commit(database):
    """No effect is lost or doubled, wherever the process dies. ``KILL_ROUNDS=100`` for more."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.transaction.killed", database("sync"), str(ROUNDS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"killed {2 * ROUNDS} lost 0 doubled 0"

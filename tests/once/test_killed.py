"""Kill -9 inside ``once``: what was not sent is sent in the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))


def test_killed_before_the_send(lasting_url, fresh_key, tmp_path):
    """A dead holder is never taken for done, on any store that outlives it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.once.killed", lasting_url),
            *(str(ROUNDS), fresh_key, str(tmp_path / "ledger")),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"killed {ROUNDS} lost 0 doubled 0", done.stderr

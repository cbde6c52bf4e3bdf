"""The types that a user's own checker sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import webhook_dedup

PROGRAM = Path(__file__).with_name("program.py")


def test_typed_program_passes_the_strict_checker(pytestconfig):
    """Results, arguments and methods keep their types under the decorators and ``once.call``."""
    cache = pytestconfig.cache.mkdir("mypy")
    asked = ["--strict", "--config-file=", f"--cache-dir={cache}", "--follow-imports=silent"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *asked, str(PROGRAM)],
        env={**os.environ, "MYPYPATH": str(Path(webhook_dedup.__file__).parents[1])},
        cwd=cache,  # or it would read this project's settings
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr

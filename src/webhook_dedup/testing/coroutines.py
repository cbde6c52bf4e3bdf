"""What the suites ask of the pytest they run in: that something awaits their tests."""

from __future__ import annotations

import pytest

__all__ = ["CoroutineCase"]


class CoroutineCase:
    """A suite of coroutines, which pytest itself does not run."""

    @pytest.fixture(autouse=True)
    def _is_awaited(self, request: pytest.FixtureRequest) -> None:
        """Say what to set, before an async fixture that nothing awaits fails without a word."""
        # pytest-asyncio makes items of its own class of what it runs, anyio marks them.
        if type(request.node) is pytest.Function and not request.node.get_closest_marker("anyio"):
            pytest.fail(
                "nothing runs this coroutine: set asyncio_mode = auto for pytest-asyncio in "
                'pytest.ini, or asyncio_mode = "auto" below [tool.pytest.ini_options] in '
                "pyproject.toml; with anyio put @pytest.mark.anyio on the class",
                pytrace=False,
            )

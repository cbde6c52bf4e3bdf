"""How tables that belong together are named."""

from __future__ import annotations

from ...errors import ConfigError

__all__ = ["agreed", "beside"]


def beside(claims: str, what: str) -> str:
    """Return the name of the table that lies beside a table of claims.

    Args:
        claims: Name of the table of claims.
        what: ``inbox`` or ``history``.
    """
    return f"{claims.removesuffix('_claims')}_{what}"


def agreed(argument: str | None, by_url: str | None) -> str | None:
    """Return the name of a table that an argument and a URL may give; ``None`` if neither does.

    Raises:
        ConfigError: They differ.
    """
    if argument and by_url and argument != by_url:
        raise ConfigError(
            f"table={argument!r} is passed, but by ?table= in the URL it is {by_url!r}: give one "
            "of them"
        )
    return argument or by_url

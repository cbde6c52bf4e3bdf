"""Connections through a pooler, which gives each transaction to whichever server it likes.

What was prepared on one server is unknown to the next, or is somebody else's statement of the same
name. PgBouncer knows prepared statements from 1.21 on, where it is told to; so nothing is prepared
behind a pooler unless the URL says how much.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine

__all__ = ["set_up_asyncpg", "set_up_psycopg"]

# The server keeps the plan of a prepared statement. One made while a table is all but empty, as an
# inbox is for the most part, reads it from end to end, and goes on to when it has grown. While
# strings do not conform, psycopg escapes bytes in a list twice, and others would be stored.
# A pooler shows another process id: what is set there might end up with somebody else.
_SETTINGS = """
SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false),
    set_config('standard_conforming_strings', 'on', false)
WHERE pg_backend_pid() = {pid}
"""
_SET = "SELECT 1"
_UNPREPARED = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,  # the statement without a name, which each replaces
}
# What statements are given that asyncpg does not know by itself.
_ARRAYS = "SELECT $1::bool[], $2::bytea[], $3::float8[], $4::int4[]"


def set_up_asyncpg(engine: Engine) -> None:
    """Have each new connection of an engine set up, and nothing prepared behind a pooler."""
    learnt: dict[str, Any] = {}
    behind_pooler = False

    def connect(dialect: Dialect, _: object, args: list[Any], options: dict[str, Any]) -> Any:
        if options.get("statement_cache_size") == 0:
            learnt.update(_UNPREPARED)
        options.update(learnt)
        connection: Any = dialect.connect(*args, **options)
        if connection.run_async(_set_up):
            return connection
        nonlocal behind_pooler
        behind_pooler = True
        if "statement_cache_size" in options:
            return connection
        connection.run_async(_close)
        learnt.update(_UNPREPARED)
        return dialect.connect(*args, **{**options, **learnt})

    def complete(connection: Any, _: object) -> None:
        if behind_pooler:
            connection.run_async(_learn_arrays)

    event.listen(engine, "do_connect", connect)
    # Once SQLAlchemy has set its own codecs, with which asyncpg forgets what it has learnt.
    event.listen(engine, "connect", complete)


async def _set_up(driver: Any) -> bool:
    """Set up a connection; say whether it leads to the server itself, and to no pooler."""
    try:
        status: str = await driver.execute(_SETTINGS.format(pid=driver.get_server_pid()))
    except BaseException:
        driver.terminate()  # the pool forgets it, the server would not
        raise
    return status == _SET


async def _learn_arrays(driver: Any) -> None:
    """Have asyncpg learn what arrays are, from one server and without a trace.

    By itself it asks along with the first statements, and sets ``jit`` off before and on again
    after: compiled, the question takes a second of CPU. Without a transaction each of the three
    may reach another server.
    """
    try:
        asking = driver.transaction()
        await asking.start()
        await driver.fetch(_ARRAYS, None, None, None, None)
        await asking.rollback()
    except BaseException:
        driver.terminate()  # the pool forgets it, the pooler would not
        raise


async def _close(driver: Any) -> None:
    driver.terminate()


def set_up_psycopg(engine: Engine) -> None:
    """Have each new connection of an engine set up, and nothing prepared behind a pooler."""
    event.listen(engine, "connect", _on_connection)


def _on_connection(connection: Any, _: object) -> None:
    driver = connection.driver_connection
    cursor = connection.cursor()
    cursor.execute(_SETTINGS.format(pid=driver.info.backend_pid))
    if cursor.rowcount == 0:
        driver.prepare_threshold = None
    cursor.close()
    connection.commit()

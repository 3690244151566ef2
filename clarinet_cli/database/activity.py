"""Logging of connections, transactions and statements, for ``-v`` and ``-vv``."""

from time import perf_counter
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine import Engine

from clarinet_cli.database.url import display_url
from clarinet_cli.utils.logger import VERY_VERBOSE, logger, stderr_verbosity

STARTED = "clarinet_started"  # keys of the information about a connection
STATEMENTS = "clarinet_statements"


def log_activity(engine: Engine, url: URL) -> None:
    """Log the activity of an engine, according to the verbosity.

    From 1 on: each connection that is opened, and each transaction with its duration. From 2
    on: each statement without its values.

    Args:
        engine: The engine.
        url: Its URL; shown redacted.
    """
    if not stderr_verbosity():
        return

    def connecting(_: Any, record: Any, *__: Any) -> None:
        record.info[STARTED] = perf_counter()

    def connected(_: Any, record: Any) -> None:
        seconds = perf_counter() - record.info.pop(STARTED, perf_counter())
        logger.info(f"opened {display_url(url)} in {_milliseconds(seconds)}")

    def begun(connection: Connection) -> None:
        connection.info[STARTED] = perf_counter()
        connection.info[STATEMENTS] = 0

    def executing(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        connection.info[STATEMENTS] = connection.info.get(STATEMENTS, 0) + 1
        if stderr_verbosity() >= VERY_VERBOSE:
            letters = (
                letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
                for letter in " ".join(statement.split())
            )
            logger.debug("".join(letters))

    def ended(connection: Connection) -> None:
        seconds = perf_counter() - connection.info.pop(STARTED, perf_counter())
        number = connection.info.pop(STATEMENTS, 0)
        noun = "statement" if number == 1 else "statements"
        logger.info(f"transaction of {number} {noun} took {_milliseconds(seconds)}")

    event.listen(engine, "do_connect", connecting)
    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun, insert=True)
    event.listen(engine, "before_cursor_execute", executing)
    event.listen(engine, "commit", ended)
    event.listen(engine, "rollback", ended)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"

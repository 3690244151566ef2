"""Connections that are kept for the next query, since most tests query several times."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
Connect = Callable[[str], Awaitable[Any]]


class KeptConnections:
    """Connections that stay open, on an event loop of their own in a thread of their own.

    Opening one costs the client and the server ten times what a query does. A query gets a
    connection that nobody uses at the moment, so those of several threads run side by side.

    Args:
        connect: Opens a connection to the database of a name.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: defaultdict[str, list[Any]] = defaultdict(list)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def rows(self, database: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement from any thread, and return its rows."""
        return self._run(self._rows(database, query, *arguments))

    def leave(self, database: str) -> None:
        """Close all connections to a database, which can then be dropped or renamed."""
        if self._idle.get(database):
            self._run(self._leave(database))

    def close(self) -> None:
        """Close everything."""
        for database in list(self._idle):
            self.leave(database)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _rows(self, database: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        connection = self._taken(database) or await self._connect(database)
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]
        finally:
            self._idle[database].append(connection)

    def _taken(self, database: str) -> Any:
        """Return a connection that is unused and open, or None."""
        while self._idle[database]:
            connection = self._idle[database].pop()
            if not connection.is_closed():
                return connection
        return None

    async def _leave(self, database: str) -> None:
        for connection in self._idle.pop(database, []):
            await connection.close()

"""pgbouncer in transaction mode, and a stand-in for it that runs on every machine.

``make install`` puts the real one into the environment where the machine's packages have it.

Each transaction of a client gets the server connection that has rested longest, so hardly
ever the one that it had before: what a program leaves on a connection (a prepared
statement, a setting, a session's lock) is not there afterwards. As pgbouncer does, it
refuses startup parameters that it does not know.

The messages are those of the manual's chapter "Frontend/Backend Protocol".
"""

import asyncio
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Optional, Protocol, Self

from tests.patience import PATIENCE_SECONDS
from tests.postgres import PostgresServer

REAL_POOLER = "CLARINET_TEST_PGBOUNCER"  # the program; empty: none
FETCHED = Path(sys.prefix) / "pgbouncer" / "usr"  # by tests/fetch_pgbouncer.sh
STAND_IN, REAL = "stand-in", "pgbouncer"
CONNECTIONS = 4
PROTOCOL_3 = 196608
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
KNOWN_PARAMETERS = {
    "user", "database", "client_encoding", "datestyle", "timezone",
    "standard_conforming_strings", "application_name",
}  # fmt: skip
SYSTEM_USER = "pgserver"  # pgbouncer does not run as root


class Pooler(Protocol):
    """A process on a port that forwards transactions to the server."""

    port: int

    def stop(self) -> None:
        """End it and all its connections."""


def pgbouncer() -> Optional[str]:
    """Return the path of pgbouncer, or None if it is not installed."""
    named = os.environ.get(REAL_POOLER)
    if named is not None:
        return named or None
    places = os.pathsep.join((str(FETCHED / "sbin"), os.environ.get("PATH", ""), "/usr/sbin"))
    return shutil.which(REAL, path=places)


def poolers() -> list[str]:
    """Return what ``start_pooler`` can start on this machine."""
    return [STAND_IN, REAL] if pgbouncer() else [STAND_IN]


def start_pooler(server: PostgresServer, kind: str) -> Pooler:
    """Start a pooler in front of a server.

    Args:
        server: The server.
        kind: One of ``poolers``.
    """
    binary = pgbouncer() if kind == REAL else None
    return RealPooler(server, binary) if binary else StandIn(server)


class StandIn:
    """The stand-in, in a thread of its own.

    Args:
        server: The server, which trusts whoever comes by its socket.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.target = f"{server.host}/.s.PGSQL.{server.port}"
        self.pools: dict[tuple[str, str], _Pool] = {}
        self.port = 0
        self.transactions = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """End it and all its connections."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for pool in self.pools.values():
            await pool.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            parameters = await _startup(reader, writer)
            if parameters is not None:
                await self._serve(parameters, reader, writer)
        await _close(writer)

    async def _serve(
        self,
        parameters: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        unknown = sorted(set(parameters) - KNOWN_PARAMETERS)
        if unknown:
            writer.write(_fatal("08P01", f"unsupported startup parameter: {unknown[0]}"))
            return
        key = parameters["user"], parameters.get("database", parameters["user"])
        pool = self.pools.setdefault(key, _Pool(self.target, *key))
        try:
            link = await pool.take()
        except _RefusedError as error:
            writer.write(error.message)
            return
        writer.write(_message(b"R", struct.pack("!i", 0)) + b"".join(link.greeting))
        writer.write(_message(b"Z", b"I"))
        pool.give_back(link)
        await self._transactions(pool, reader, writer)

    async def _transactions(
        self, pool: "_Pool", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            first = await _read(reader)
            if first[:1] == b"X":
                return
            link = await pool.take()
            self.transactions += 1
            if not await _one_transaction(first, link, reader, writer):
                await _close(link.writer)
                return
            pool.give_back(link)


async def _one_transaction(
    first: bytes, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Forward messages until the server is idle; False if the client disconnected before."""
    link.writer.write(first)
    waiting = first[:1] in (b"Q", b"S")
    answers = asyncio.ensure_future(_read(link.reader))
    requests = asyncio.ensure_future(_read(reader))
    outstanding = int(waiting)
    try:
        while True:
            await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
            if answers.done():
                message = answers.result()
                writer.write(message)
                if message[:1] == b"Z":
                    outstanding -= 1
                    if message[5:6] == b"I" and not outstanding and not requests.done():
                        requests.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await requests
                        return True
                answers = asyncio.ensure_future(_read(link.reader))
            if requests.done():
                message = requests.result()
                if message[:1] == b"X":
                    return False
                outstanding += message[:1] in (b"Q", b"S")
                link.writer.write(message)
                requests = asyncio.ensure_future(_read(reader))
    finally:
        for task in (answers, requests):
            task.cancel()


class _RefusedError(Exception):
    """The server refuses the connection."""

    def __init__(self, message: bytes) -> None:
        super().__init__("refused")
        self.message = message


class _Link:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.greeting: list[bytes] = []

    @classmethod
    async def open(cls, target: str, user: str, database: str) -> Self:
        """Log in; the server trusts its socket."""
        link = cls(*await asyncio.open_unix_connection(target))
        words = "\0".join(["user", user, "database", database, "client_encoding", "utf-8", "", ""])
        body = struct.pack("!i", PROTOCOL_3) + words.encode()
        link.writer.write(struct.pack("!i", len(body) + 4) + body)
        while (message := await _read(link.reader))[:1] != b"Z":
            if message[:1] == b"E":
                await _close(link.writer)
                raise _RefusedError(message)
            if message[:1] in (b"S", b"K"):
                link.greeting.append(message)
        return link


class _Pool:
    """The server connections of one user to one database."""

    def __init__(self, *target: str) -> None:
        self.target = target
        self.resting: deque[_Link] = deque()
        self.opened = 0

    async def take(self) -> _Link:
        """Return the connection that was idle longest, or a new one up to a limit."""
        while self.resting and self.opened >= CONNECTIONS:
            link = self.resting.popleft()
            if not link.reader.at_eof():
                return link
            self.opened -= 1
        self.opened += 1
        return await _Link.open(*self.target)

    def give_back(self, link: _Link) -> None:
        self.resting.append(link)

    async def close(self) -> None:
        for link in self.resting:
            await _close(link.writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _startup(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Optional[dict[str, str]]:
    """Return the parameters of a new client; None for another request."""
    while True:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        (code,) = struct.unpack("!i", body[:4])
        if code not in (SSL_REQUEST, GSS_REQUEST):
            break
        writer.write(b"N")
    if code != PROTOCOL_3:
        return None
    words = body[4:].rstrip(b"\0").decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=True))


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return one complete message: its type, its length, its content."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head + await reader.readexactly(length - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _fatal(state: str, text: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": text}
    return _message(b"E", "".join(f"{k}{v}\0" for k, v in fields.items()).encode() + b"\0")


class RealPooler:
    """pgbouncer itself.

    Args:
        server: The server, which trusts whoever comes by its socket.
        binary: Where pgbouncer is.
    """

    def __init__(self, server: PostgresServer, binary: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="clarinet-pgbouncer-"))
        self.directory.chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        settings = self.directory / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={server.host} port={server.port} user={server.user}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            "unix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
            "server_round_robin = 1\nmin_pool_size = 4\n"
        )
        options: dict[str, Any] = {"user": SYSTEM_USER} if os.geteuid() == 0 else {}
        libraries = os.pathsep.join(str(path) for path in sorted(FETCHED.glob("lib/*")))
        self.process = subprocess.Popen(
            [binary, "-q", str(settings)],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            **options,
        )
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            time.sleep(0.05)
        msg = "pgbouncer does not listen"
        raise AssertionError(msg)

    def stop(self) -> None:
        """End it and all its connections."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

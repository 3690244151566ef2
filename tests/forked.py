"""Processes of the tool without a start of the interpreter for each: see ``tests.fork_server``.

What decides itself when an interpreter starts (its flags, its locale, the variables that it and
the libraries read while they load) needs a real start; ``start`` does that by itself where the
environment asks for it, and where no server can be had.
"""

import base64
import contextlib
import functools
import json
import math
import os
import pickle
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Optional, Self, Union

from tests.fork_server import NUMBER_BYTES

PIPE = subprocess.PIPE
CLOSED = -4  # a standard stream that is closed, as a shell's ">&-" does it
# Variables that are read when an interpreter or a library loads.
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "DYLD_", "MALLOC_", "LOGURU_", "COVERAGE_")
ROOT = Path(__file__).parent.parent
ALEMBIC = Path(sys.executable).with_name("alembic")
TERMINAL_FIRST = (
    "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR));"
    " os.execv(sys.argv[1], sys.argv[1:])"
)


class ForkedProcess:
    """A child of the fork server, with the interface of ``subprocess.Popen``.

    Args:
        arguments: The words of the command, for messages.
        pid: The process itself.
        status: The socket on which the server reports its end.
        streams: Our ends of its pipes; None where it has another stream.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        pid: int,
        status: socket.socket,
        streams: Sequence[Optional[IO[bytes]]],
    ) -> None:
        self.args = list(arguments)
        self.pid = pid
        self.returncode: Optional[int] = None
        self.stdin, self.stdout, self.stderr = streams
        self._status = status

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pipes and wait for the end."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def poll(self) -> Optional[int]:
        """Return the exit code, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: Optional[float] = None) -> int:
        """Wait for the end and return the exit code, negative after a signal."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._status:
                self.returncode = os.waitstatus_to_exitcode(number_from(self._status))
        return self.returncode

    def communicate(
        self, content: Optional[bytes] = None, timeout: Optional[float] = None
    ) -> tuple[bytes, bytes]:
        """Write *content*, read all output, wait for the end and return the output."""
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        read: dict[int, bytes] = {}
        left = memoryview(content or b"")
        with selectors.DefaultSelector() as selector:
            for stream in filter(None, (self.stdout, self.stderr)):
                selector.register(stream, selectors.EVENT_READ, stream)
                read[stream.fileno()] = b""
            if self.stdin is not None:
                selector.register(self.stdin, selectors.EVENT_WRITE, self.stdin)
            numbers = [stream and stream.fileno() for stream in (self.stdout, self.stderr)]
            while selector.get_map():
                ready = selector.select(None if timeout is None else end - time.monotonic())
                if time.monotonic() > end:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                for key, _ in ready:
                    if key.data is self.stdin:
                        left = left[_written(key.fd, left) :]
                        done = not left
                    else:
                        data = os.read(key.fd, 1 << 16)
                        read[key.fd] += data
                        done = not data
                    if done:
                        selector.unregister(key.fd)
                        key.data.close()
        self.wait(None if timeout is None else max(0.0, end - time.monotonic()))
        return read.get(numbers[0] or 0, b""), read.get(numbers[1] or 0, b"")

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


Process = Union[subprocess.Popen[bytes], ForkedProcess]
Stream = Union[int, IO[bytes]]
Prepare = Optional[Callable[[], None]]


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: Stream = PIPE,
    stdout: Stream = PIPE,
    stderr: Stream = PIPE,
    terminal: bool = False,
    program: Optional[str] = None,
    script: Optional[Path] = None,
    directory: Optional[Path] = None,
    prepare: Prepare = None,
) -> Process:
    """Start ``python -m clarinet_cli``, a script, or ``python -c`` with a program.

    Args:
        arguments: The words of the command line, without the program.
        env: Its whole environment.
        stdin: Its standard input: ``PIPE``, ``CLOSED``, a descriptor, or a file.
        stdout: Its standard output.
        stderr: Its standard error.
        terminal: Begin a session whose controlling terminal is standard input.
        program: What to run instead; the modules of the tool are loaded already.
        script: A script in Python to run instead, such as ``alembic``.
        directory: Its working directory; None means ours.
        prepare: Called in the process before the command. It must be a function of a module,
            or a ``functools.partial`` of one, and hold whether or not an ``exec`` follows.
    """
    server = fork_server()
    if server is not None and at_start(env) == at_start(os.environ):
        request = {
            "arguments": list(arguments),
            "environment": dict(env),
            "directory": str(directory or Path.cwd()),
            "terminal": terminal,
            "program": program,
            "script": script and str(script),
            "prepare": base64.b64encode(pickle.dumps(prepare)).decode(),
        }
        return server.start(request, (stdin, stdout, stderr))
    started = ["-m", "clarinet_cli"] if program is None else ["-c", program]
    words = [sys.executable, *([str(script)] if script else started), *arguments]
    if terminal:
        words = [sys.executable, "-c", TERMINAL_FIRST, *words]
    streams = [stdin, stdout, stderr]
    closed = [number for number, stream in enumerate(streams) if stream == CLOSED]
    given = [None if stream == CLOSED else stream for stream in streams]

    def first() -> None:
        for number in closed:
            os.close(number)
        if prepare is not None:
            prepare()

    return subprocess.Popen(
        words,
        stdin=given[0],
        stdout=given[1],
        stderr=given[2],
        env=env,
        cwd=directory,
        start_new_session=terminal,
        preexec_fn=first if closed or prepare else None,
    )


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    content: bytes = b"",
    stdin: Stream = PIPE,
    stdout: Stream = PIPE,
    stderr: Stream = PIPE,
    program: Optional[str] = None,
    script: Optional[Path] = None,
    directory: Optional[Path] = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[bytes]:
    """Start a process and wait for its end; it is killed after *timeout* seconds."""
    process = start(
        arguments,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        program=program,
        script=script,
        directory=directory,
    )
    try:
        out, err = process.communicate(content, timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode or 0, out, err)


@contextlib.contextmanager
def redirected(redirections: str) -> Iterator[dict[str, Stream]]:
    """Yield the streams of a shell's redirections, by the names of ``start``.

    Args:
        redirections: Some of ``<&-``, ``>&-``, ``2>&-``, ``>/dev/full`` and ``2>/dev/full``.
    """
    with contextlib.ExitStack() as stack:
        streams: dict[str, Stream] = {}
        for word in redirections.split():
            name = {"<": "stdin", "2": "stderr"}.get(word[0], "stdout")
            file = word.lstrip("2<>")
            streams[name] = CLOSED if file == "&-" else stack.enter_context(Path(file).open("wb"))
        yield streams


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read when an interpreter or a library loads."""
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def number_from(connection: socket.socket) -> int:
    """Receive a number from the server."""
    data = connection.recv(NUMBER_BYTES, socket.MSG_WAITALL)
    if len(data) < NUMBER_BYTES:
        raise OSError("the fork server has gone")
    return int.from_bytes(data)


class ForkServer:
    """The server of this process, started with its environment."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        if self._control.recv(6) != b"ready\n":
            raise OSError("the fork server did not start")

    def start(self, request: dict[str, Any], streams: Sequence[Stream]) -> ForkedProcess:
        """Start a command; see the function ``start``."""
        request["umask"] = os.umask(0)
        os.umask(request["umask"])
        request["streams"] = [n for n, stream in enumerate(streams) if stream != CLOSED]
        ours: list[Optional[IO[bytes]]] = []
        status, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            given = [stack.enter_context(theirs).fileno()]
            for number, stream in enumerate(streams):
                if stream == CLOSED:
                    ours.append(None)
                    continue
                if stream != PIPE:
                    given.append(stream if isinstance(stream, int) else stream.fileno())
                    ours.append(None)
                    continue
                reading, writing = os.pipe()
                mine, other = (reading, writing) if number else (writing, reading)
                stack.callback(os.close, other)
                given.append(other)
                ours.append(open(mine, "rb" if number else "wb", 0 if not number else -1))  # noqa: SIM115, PTH123 - closed by its owner
            socket.send_fds(self._control, [b"x"], given)
        status.sendall(json.dumps(request).encode() + b"\n")
        return ForkedProcess(request["arguments"], number_from(status), status, ours)

    def stop(self) -> None:
        """End the server, but not children that still run."""
        self._control.close()
        self._server.wait()


@functools.cache
def fork_server() -> Optional[ForkServer]:
    """Return the server of this process, started at the first call; None if it does not start."""
    try:
        return ForkServer()
    except OSError:
        return None


def stop_fork_server() -> None:
    """Stop the server of this process, if there is one."""
    if fork_server.cache_info().currsize and (server := fork_server()):
        server.stop()
    fork_server.cache_clear()


def _written(descriptor: int, data: memoryview) -> int:
    """Write what fits into a pipe; if it is closed, everything counts as written."""
    try:
        return os.write(descriptor, data[: select.PIPE_BUF])
    except BrokenPipeError:
        return len(data)

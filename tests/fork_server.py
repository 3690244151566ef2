"""Start commands by forking an interpreter that has loaded the program and its libraries.

A start of the interpreter takes ten times what a short command does. This program is started
once by each test process (``tests.forked``) and forks a child for each command. A child gets
its arguments, environment, working directory, umask and standard streams from the request, and
runs ``python -m clarinet_cli``, a script, or a program given as text, from there: it reads its
settings itself, installs its own signal handlers and ends as an interpreter ends. Only what
comes last is left out: freeing all objects, which takes several times what a short command does.
"""

import atexit
import base64
import gc
import importlib
import io
import json
import os
import pickle
import pkgutil
import runpy
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Optional

# Run in a child of its own to learn what commands load while they run.
TYPICAL_LINES = (
    "db init --generate-password",
    "session list",
    "migrate status",
    "db status -ojson",
    "session list --help",
)
SETTINGS = 'database_driver = "sqlite"\ndatabase_name = "clarinet"\n'
ALSO_LOADED = (
    "alembic.config",
    "asyncpg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "clarinet_cli.cli.main",
)
NUMBER_BYTES = 8  # of a process id, then of its wait status
STREAMS = ("stdin", "stdout", "stderr")


class Request(NamedTuple):
    """The command of a child, and the descriptors of its standard streams."""

    words: dict[str, Any]
    descriptors: list[int]


class Ending:
    """The end of a child once its exit code is known and all that runs at exit has run."""

    def __init__(self) -> None:
        self.code: Optional[int] = None

    def __enter__(self) -> None:
        """Begin the part that determines the exit code."""

    def __exit__(self, _: object, error: Optional[BaseException], __: object) -> None:
        """Keep the exit code; the interpreter itself ends what ended otherwise."""
        code = error.code if isinstance(error, SystemExit) else error
        if code is None or isinstance(code, int):
            self.code = code or 0

    def end(self) -> None:
        """End the process, unless the interpreter has more to do or to report."""
        if self.code is None:
            return
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except (OSError, ValueError):
            return
        os._exit(self.code & 0xFF)


def main() -> None:
    """Serve requests from the socket whose descriptor is the first argument."""
    ending = Ending()
    atexit.register(ending.end)  # before any other, so that it is called after all of them
    gc.disable()
    # As 'clarinet' sets it before it loads anything.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    load()
    gc.freeze()
    control = socket.socket(fileno=int(sys.argv[1]))
    control.sendall(b"ready\n")
    request = serve(control)
    if request is not None:
        with ending:
            run(request)


def load() -> None:
    """Import the package, and what typical commands import while they run."""
    for name in (*ALSO_LOADED, *modules_of_package(), *modules_of_commands()):
        with suppress(ImportError):
            importlib.import_module(name)


def modules_of_package() -> Iterable[str]:
    """Return the names of the package's own modules."""
    import clarinet_cli

    for module in pkgutil.walk_packages(clarinet_cli.__path__, "clarinet_cli."):
        if not module.name.startswith(("clarinet_cli.__main__", "clarinet_cli.alembic")):
            yield module.name


def modules_of_commands() -> Iterable[str]:
    """Return the names of the modules that typical commands load."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            names = modules_after_commands(Path(directory))
            answer.write("\n".join(names))
            answer.flush()
            os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        return answer.read().split()


def modules_after_commands(directory: Path) -> list[str]:
    """Run the commands in this process and return the modules of libraries that are loaded."""
    from clarinet_cli.cli.main import run_command_line

    directory.joinpath("settings.toml").write_text(SETTINGS)
    sys.stdin = sys.stdout = sys.stderr = open(os.devnull, "r+", encoding="utf-8")  # noqa: SIM115, PTH123 - open until the end
    for line in TYPICAL_LINES:
        run_command_line(["-C", str(directory), *line.split()])
    return [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]


def serve(control: socket.socket) -> Optional[Request]:
    """Fork for each request and report the end of each child.

    Returns:
        In a child, its request; in the server None, when the other side has gone.
    """
    waking, wakened = socket.socketpair()
    for end in (waking, wakened):
        end.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakened.fileno(), warn_on_full_buffer=False)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, waking], [], [])
        if waking in ready:
            waking.recv(4096)
            report_ends(children)
        if control not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not message:
            return None
        answer = socket.socket(fileno=descriptors.pop(0))
        words = json.loads(line_from(answer))
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (control, waking, wakened, answer, *children.values()):
                end.close()
            return Request(words, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        children[child] = answer
        with suppress(OSError):
            answer.sendall(child.to_bytes(NUMBER_BYTES))


def line_from(connection: socket.socket) -> bytes:
    """Return the one line that comes from a connection."""
    line = b""
    while not line.endswith(b"\n"):
        line += (data := connection.recv(1 << 16))
        if not data:
            raise OSError("the other side has gone")
    return line


def report_ends(children: dict[int, socket.socket]) -> None:
    """Send the wait status of each child that has ended to its requester."""
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with children.pop(child) as answer, suppress(OSError):
            answer.sendall(status.to_bytes(NUMBER_BYTES))


def run(request: Request) -> None:
    """In a child: become the requested process, and run the command."""
    words = request.words
    prepare = pickle.loads(base64.b64decode(words["prepare"]))  # noqa: S301 - our own
    for target in words["streams"]:
        os.dup2(descriptor := request.descriptors.pop(0), target)
        os.close(descriptor)
    for target in {0, 1, 2}.difference(words["streams"]):
        os.close(target)
    if words["terminal"]:
        # getpass reads /dev/tty: the first terminal that a session's leader opens becomes that.
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))
    os.chdir(words["directory"])
    os.umask(words["umask"])
    os.environ.clear()
    os.environ.update(words["environment"])
    time.tzset()
    open_streams(words["streams"])
    importlib.invalidate_caches()
    sys.path[0] = words["directory"]
    sys.argv[1:] = words["arguments"]
    sys.orig_argv[1:] = ["-m", "clarinet_cli", *words["arguments"]]
    if prepare is not None:
        prepare()
    if words["script"] is not None:
        sys.path[0] = os.path.dirname(words["script"])  # noqa: PTH120 - as the interpreter sets it
        sys.argv[0] = words["script"]
        sys.orig_argv[1:] = [words["script"], *words["arguments"]]
        runpy.run_path(words["script"], run_name="__main__")
    elif words["program"] is None:
        runpy.run_module("clarinet_cli", run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = "-c"
        exec(compile(words["program"], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - the program of a test


def open_streams(present: list[int]) -> None:
    """Open the standard streams as the interpreter does at its start: None for a closed one."""
    for descriptor, name in enumerate(STREAMS):
        stream: Optional[io.TextIOWrapper] = None
        if descriptor in present:
            before = getattr(sys, f"__{name}__")
            raw = io.FileIO(descriptor, "w" if descriptor else "r", closefd=False)
            stream = io.TextIOWrapper(
                io.BufferedWriter(raw) if descriptor else io.BufferedReader(raw),
                before.encoding,
                before.errors,
                newline="\n" if descriptor else None,
                line_buffering=raw.isatty() or name == "stderr",
            )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    main()

"""A command in a process of its own at a pseudo-terminal, and the keys that are typed."""

import contextlib
import fcntl
import os
import platform
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests import forked
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, process_environment

CTRL_C = "\x03"
CTRL_D = "\x04"
# The system call of a thread that waits for another one, such as the interpreter's lock.
FUTEX = {"x86_64": "202", "aarch64": "98"}
STYLES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Terminal:
    """The master's side of a terminal with one command in it.

    Attributes:
        process: The command.
        master: The file descriptor of the other side.
        screen: All that the terminal has shown so far.
    """

    process: forked.Process
    master: int
    screen: str = ""
    read_to: int = 0

    def expect(self, text: str) -> None:
        """Wait until the terminal shows *text*, after what was expected before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.screen.find(text, self.read_to)) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in {self.screen!r}"
            assert self._read(), f"ended without {text!r}: {self.screen!r}"
        self.read_to = found + len(text)

    def type(self, text: str) -> None:
        """Press keys once the command waits for them."""
        self._wait_until_it_waits()
        os.write(self.master, text.encode())

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a question and answer it with a line."""
        self.expect(prompt)
        self.type(f"{text}\n")

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE_SECONDS)

    @property
    def text(self) -> str:
        """What the terminal has shown, without colours."""
        return STYLES.sub("", self.screen.replace("\r\n", "\n"))

    @property
    def lines(self) -> list[str]:
        """What the terminal has shown, as lines without colours."""
        return self.text.split("\n")

    def _wait_until_it_waits(self) -> None:
        """Wait until the command sleeps.

        Between the last look for signals and a blocking read CPython keeps a signal for later:
        a Ctrl-C at that very moment, which only a program can hit, would need a second one.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        status = Path(f"/proc/{self.process.pid}/stat")
        while (state := _state(status)) not in "SZ":
            assert time.monotonic() < deadline, f"it never waits (state {state})"
            time.sleep(0.005)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], PATIENCE_SECONDS)
        assert ready, f"silent, after {self.screen!r}"
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux: the last process has closed its side
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)


def _state(status: Path) -> str:
    """Return the state's letter; Z when it has ended, R while it waits for a thread of its own."""
    with contextlib.suppress(OSError):  # not every user may read it
        if status.with_name("syscall").read_text().split()[:1] == [FUTEX.get(platform.machine())]:
            return "R"
    with contextlib.suppress(OSError):
        return status.read_text().rpartition(") ")[2][0]
    return "Z"


@contextlib.contextmanager
def terminal(
    project: Project,
    *arguments: str,
    columns: int = 80,
    env: Optional[Mapping[str, str]] = None,
    stdin: Optional[Path] = None,
    stdout: Optional[Path] = None,
) -> Iterator[Terminal]:
    """Run a command with a controlling terminal of its own.

    Args:
        project: Where.
        *arguments: The command.
        columns: The terminal's width.
        env: Further variables.
        stdin: A file for standard input instead of the terminal, which controls nothing then.
        stdout: A file for standard output instead of the terminal.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {**project.environment, "TERM": "xterm-256color", **(env or {})}
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(stdout.open("wb")) if stdout else slave
        source = stack.enter_context(stdin.open("rb")) if stdin else slave
        process = forked.start(
            project.words(*arguments),
            stdin=source,
            stdout=target,
            stderr=slave,
            terminal=stdin is None,
            env=process_environment(variables),
        )
    os.close(slave)
    shown = Terminal(process, master)
    try:
        yield shown
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)

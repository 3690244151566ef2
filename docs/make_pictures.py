"""Write ``docs/pictures``: what commands show on a terminal, from the tests' database.

``make pictures`` runs this; a test fails when a picture is not what the program shows.
"""

import fcntl
import io
import os
import pty
import re
import shutil
import struct
import sys
import tempfile
import termios
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
DATABASE = ROOT / "tests" / "fixtures" / "clarinet-0.10.20.sqlite.db"
NOW = datetime(2026, 11, 22, 18, 32, tzinfo=UTC)  # when the database was made
COLUMNS = 92
COMMANDS = ("session stats", "session list")
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # they would be loaded from elsewhere


def picture(command: str) -> str:
    """Return what a command shows as SVG."""
    with tempfile.TemporaryDirectory() as project:
        shutil.copyfile(DATABASE, Path(project, "clarinet.db"))
        shown = shown_by([sys.executable, __file__, command, project])
    console = Console(record=True, file=io.StringIO(), width=COLUMNS)
    console.print(Text.assemble(("$ ", "green"), (f"clarinet {command}", "bold")))
    console.print(Text.from_ansi(shown.rstrip()))
    svg = console.export_svg(
        title="clarinet", theme=DIMMED_MONOKAI, unique_id=command.replace(" ", "-")
    )
    return FONTS.sub("", svg) + "\n"


def shown_by(words: list[str]) -> str:
    """Run a program behind a pseudo-terminal and return all that it shows."""
    child, master = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
        os.execve(words[0], words, os.environ | {"PYTHONUTF8": "1"})  # noqa: S606 - this script
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # Linux: the child has closed its side
        pass
    os.close(master)
    _, status = os.waitpid(child, 0)
    text = shown.decode()
    if status:
        raise RuntimeError(text)
    return text.replace("\r\n", "\n")


def run(command: str, project: str) -> int:
    """Run a command at the fixed time."""
    for name in [name for name in os.environ if name.startswith("CLARINET_")]:
        del os.environ[name]
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    from clarinet_cli import timefmt

    timefmt.machine_now = lambda: NOW
    from clarinet_cli.cli.main import run_command_line

    return run_command_line(["-C", project, *command.split()])


def file_of(command: str) -> Path:
    """Return the file of a command's picture."""
    return PICTURES / f"{command.replace(' ', '-')}.svg"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(run(*sys.argv[1:]))
    PICTURES.mkdir(exist_ok=True)
    for each in COMMANDS:
        file_of(each).write_text(picture(each), encoding="utf-8")
        sys.stdout.write(f"{file_of(each).name} written\n")

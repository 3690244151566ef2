"""Completion in bash, zsh and fish behind a pseudo-terminal, as a person presses TAB.

Where a shell is missing, the program's answer to that shell's script stands for what it inserts.
"""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.cli.test_completion import PATIENT, SHELLS, complete
from tests.forked import TERMINAL_FIRST
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, process_environment

PRINT_LINE = b"\x18p"  # Ctrl-X p
PROGRAM = """#!{python}
import atexit, os, pathlib
atexit.register(pathlib.Path.home().joinpath("calls").open("ab", 0).write, b"x")
{patient}
"""
# Each start-up file binds the key to a function that writes the edited line to a file and clears
# it; the installation adds the completion.
BASH_START = r"""
PS1='$ '
print_line() { printf %s "$READLINE_LINE" > ~/line.new; mv ~/line.new ~/line; READLINE_LINE=; }
bind -x '"\C-xp": print_line'
"""
ZSH_START = r"""
PS1='$ '
print-line() { print -rn -- "$BUFFER" > ~/line.new; mv ~/line.new ~/line; BUFFER=; }
zle -N print-line
bindkey '^Xp' print-line
"""
FISH_START = r"""
function fish_prompt; echo '$ '; end
function print_line
    commandline | string collect > ~/line.new; mv ~/line.new ~/line; commandline ''
end
bind \cxp print_line
"""
STARTS = {
    "bash": (".bashrc", BASH_START, ["--noprofile", "-i"]),
    "zsh": (".zshrc", ZSH_START, ["-i"]),
    "fish": (".config/fish/config.fish", FISH_START, ["-i"]),
}
# What is typed after "clarinet", and the last word after TAB.
CASES = {
    "sess": "session",
    "session list-user clara@cl": "clara@clarinet.example",
    "session list-user o": "o'hara@clarinet.example",
    r"session list-user o\'hara@cl": "o'hara@clarinet.example",
    """session list-user "o'h""": "o'hara@clarinet.example",
    "session list --user=clara@": "--user=clara@clarinet.example",
    "admin list --role ward:n": "ward:night",
    "admin list --role on": "on call",
    "session list --sort created_at:d": "created_at:desc",
    "session list --columns id,em": "id,email",
    "session list --state active,id": "active,idle",
    "session list --older-than 2026-11-22T10:": "2026-11-22T10:",
    # No file is offered where none is expected.
    "session list-user clara@clarinet.example ": "clara@clarinet.example",
    "admin apply acc": "accounts.csv",
    "-C pro": "projects/",
}


class Shell:
    """An interactive shell that has the program and its completion.

    Args:
        name: Its program.
        project: The project of ``CLARINET_PROJECT``.
        home: Its home and working directory.
    """

    def __init__(self, name: str, project: Project, home: Path) -> None:
        self._home = home
        start, text, options = STARTS[name]
        (home / start).parent.mkdir(parents=True, exist_ok=True)
        (home / start).write_text(text)
        program = home / "bin" / "clarinet"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable, patient=PATIENT))
        program.chmod(0o755)
        environment = {
            **process_environment(project.environment),
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".local"),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "TERM": "xterm",
            "CLARINET_PROJECT": str(project.directory),
        }
        install = [name, "-c", "clarinet --install-completion; true"]  # not by 'exec'
        subprocess.run(install, cwd=home, env=environment, check=True, capture_output=True)
        self._master, slave = pty.openpty()
        self._screen = b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL_FIRST, str(shutil.which(name)), *options],
            cwd=home,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._print_line()

    def completed(self, typed: str) -> str:
        """Return the line after a line was typed and TAB was pressed."""
        calls = self._calls()
        os.write(self._master, f"clarinet {typed}\t".encode())
        self._wait_for(lambda: self._calls() > calls)
        return self._print_line()

    def end(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _calls(self) -> int:
        calls = self._home / "calls"
        return calls.stat().st_size if calls.exists() else 0

    def _print_line(self) -> str:
        """Return the line that is being edited, and clear it."""
        os.write(self._master, PRINT_LINE)
        self._wait_for((self._home / "line").exists)
        line = (self._home / "line").read_text().removesuffix("\n")
        (self._home / "line").unlink()
        return line

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Read what the shell shows until a condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self._screen.decode(errors="replace")
            if select.select([self._master], [], [], 0.02)[0]:
                self._screen += os.read(self._master, 65536)


def completed_without(shell: str, typed: str, environment: Mapping[str, str]) -> str:
    """Return the line with the only value of the program's answer, for a missing shell."""
    words = typed.split(" ")
    kind, *values = complete(shell, f"clarinet {typed}", environment).stdout.splitlines()
    if kind == "values" and len(values) == 1:
        option = words[-1].partition("=")[0] + "=" if shell == "zsh" and "=" in words[-1] else ""
        words[-1] = shlex.quote(option + values[0].partition("\t")[0])
    elif kind != "values":
        words[-1] = {"files": "accounts.csv", "directories": "projects/"}[kind]
    return " ".join(words)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_the_word_at_the_cursor(shell: str, project: Project, tmp_path: Path) -> None:
    """Addresses, roles, options, files and directories are inserted as the shell needs them."""
    for name in ("clara", "o'hara"):
        project.add_user(f"{name}@clarinet.example")
    project.write_settings('extra_roles = ["ward:night", "on call"]\n')
    assert project.run("db", "init").code == 0
    home = tmp_path / "home"
    (home / "projects").mkdir(parents=True)
    (home / "accounts.csv").touch()
    if shutil.which(shell) is None:
        environment = project.environment | {"CLARINET_PROJECT": str(project.directory)}
        lines = {typed: completed_without(shell, typed, environment) for typed in CASES}
    else:
        running = Shell(shell, project, home)
        try:
            lines = {typed: running.completed(typed) for typed in CASES}
        finally:
            running.end()
    assert {typed: shlex.split(line)[-1] for typed, line in lines.items()} == CASES

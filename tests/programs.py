"""Programs of tests: a sqlite3 for machines that have none, and children that end with a test."""

import contextlib
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SQLITE = """#!{python}
import contextlib, sqlite3, sys
words = sys.argv[1:]
read_only = "-readonly" in words
commands = [words[i + 1] for i, word in enumerate(words) if word == "-cmd"]
while words and words[0] in ("-cmd", "-readonly"):
    del words[: 2 if words[0] == "-cmd" else 1]
file, *statements = words
mode = "ro" if read_only else "rw"
with contextlib.closing(sqlite3.connect(f"file:{{file}}?mode={{mode}}", uri=True)) as database:
    script = [*(text for text in commands if text[0] != "."), *(statements or [sys.stdin.read()])]
    try:
        for statement in script:
            for row in database.execute(statement):
                print(*row, sep="|")
        database.commit()
    except sqlite3.Error as error:
        sys.exit(f"Error: {{error}}")
"""


def add_sqlite_program(directory: Path) -> bool:
    """Write the program if this machine has none, and return whether it was written.

    Args:
        directory: Where, such as one that ``PATH`` names.
    """
    if shutil.which("sqlite3") is not None:
        return False
    program = directory / "sqlite3"
    program.write_text(SQLITE.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return True


@contextlib.contextmanager
def child(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that ends with the block, also when an assertion in it fails.

    Args:
        words: The program and its arguments.
        **options: Those of ``subprocess.Popen``, whose own block would wait for it forever.
    """
    with subprocess.Popen(words, **options) as process:
        try:
            yield process
        finally:
            process.kill()

"""Parsing revision files without running them.

Alembic imports each file, with the rights of the user who runs the command. Commands that only
read revisions parse the same assignments from the syntax tree instead.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap

REVISION_FILE = re.compile(r"(?!\.#|__init__).*\.py")  # as Alembic matches them
BASE_REVISION = "c1a90e7f0001"
MAX_FILE_BYTES = 2**20
NAMES = ("revision", "down_revision", "branch_labels", "depends_on")


class UnreadableRevisionError(ValueError):
    """A revision file does not assign its identifiers as plain literals."""


def read_scripts(
    location: Path, version_locations: Sequence[Path], *, recursive: bool = False
) -> ScriptDirectory:
    """Return the revisions of an environment, parsed without running them.

    Args:
        location: The directory of ``env.py``.
        version_locations: The directories of the revisions.
        recursive: Whether subdirectories contain revisions too.

    Raises:
        OSError: A file can't be read.
        UnreadableRevisionError: A file does not assign its identifiers; also raised by the
            methods of the returned directory, which reads the files on first use.
    """
    scripts = ScriptDirectory(location)
    pattern = "**/*.py" if recursive else "*.py"
    scripts.revision_map = RevisionMap(lambda: _read_all(version_locations, pattern))
    return scripts


def is_readable(file: Path) -> bool:
    """Return whether a file is a regular file of limited size, neither a pipe nor a device.

    Args:
        file: A possible revision file.
    """
    return file.is_file() and file.stat().st_size <= MAX_FILE_BYTES


def has_our_base(location: Path) -> bool:
    """Return whether an environment contains our first revision.

    Args:
        location: The directory of ``env.py``.
    """
    assignment = rf"^revision\b[^=\n]*=\s*[\"']{BASE_REVISION}[\"']"
    files = (file for file in (location / "versions").glob("*.py") if is_readable(file))
    texts = (file.read_text("utf-8", errors="replace") for file in files)
    return any(re.search(assignment, text, re.MULTILINE) for text in texts)


def function_of(script: Script, name: str) -> Optional[ast.FunctionDef]:
    """Return the syntax of a function of a revision, or None.

    Args:
        script: The revision.
        name: ``upgrade`` or ``downgrade``.
    """
    for definition in _parsed(Path(script.path)).body:
        if isinstance(definition, ast.FunctionDef) and definition.name == name:
            return definition
    return None


def _read_all(directories: Sequence[Path], pattern: str) -> Iterator[Script]:
    files = {file.resolve() for directory in directories for file in directory.glob(pattern)}
    for file in sorted(files):
        if REVISION_FILE.fullmatch(file.name):
            yield _read(file)


def _read(file: Path) -> Script:
    tree = _parsed(file)
    module = ModuleType(file.stem, ast.get_docstring(tree))
    for statement in tree.body:
        for name, value in _assigned(statement):
            setattr(module, name, _literal(file, name, value))
    for name in NAMES[:2]:
        if not hasattr(module, name):
            raise UnreadableRevisionError(f"{file.name} assigns no {name!r}")
    if not isinstance(module.revision, str):
        raise UnreadableRevisionError(f"{file.name}: 'revision' is not a string")
    return Script(module, module.revision, file)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield the identifiers in ``NAMES`` that a statement assigns, with their values."""
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name) and target.id in NAMES:
            yield target.id, value


def _literal(file: Path, name: str, value: ast.expr) -> Any:
    """Return the string, strings or None that an expression is a literal of."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        found = ...
    texts = found if isinstance(found, (tuple, list, set)) else (found,)
    if found is not None and not all(isinstance(text, str) for text in texts):
        raise UnreadableRevisionError(f"{file.name}: {name!r} is not a plain value")
    return found


def _parsed(file: Path) -> ast.Module:
    if not is_readable(file):
        raise UnreadableRevisionError(f"{file.name} is not a file of up to {MAX_FILE_BYTES} bytes")
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableRevisionError(f"{file.name} is not Python: {error}") from None

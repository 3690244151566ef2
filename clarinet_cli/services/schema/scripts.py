"""Revisions read as text: what they are called and follow, without running them.

Alembic learns that by importing each file, as whoever runs the command. Commands that only
look read the same assignments from the file's syntax instead.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap

REVISION_FILE = re.compile(r"(?!\.#|__init__).*\.py")  # what Alembic takes for one
LARGEST_FILE = 2**20
NAMES = ("revision", "down_revision", "branch_labels", "depends_on")


class UnreadableRevisionError(ValueError):
    """A file among the revisions does not say in plain values which one it is."""


def read_scripts(
    location: Path, version_locations: Sequence[Path], *, recursive: bool = False
) -> ScriptDirectory:
    """Return the revisions of an environment, read without running them.

    Args:
        location: The directory of ``env.py``.
        version_locations: The directories of the revisions.
        recursive: Whether they lie in directories below these too.

    Raises:
        OSError: A file can't be read.
        UnreadableRevisionError: A file does not say which revision it is; also from the
            methods of the directory, which reads when it is first asked.
    """
    scripts = ScriptDirectory(location)
    pattern = "**/*.py" if recursive else "*.py"
    scripts.revision_map = RevisionMap(lambda: _read_all(version_locations, pattern))
    return scripts


def is_readable(file: Path) -> bool:
    """Return whether reading a file will end: a pipe would not, nor a file without end.

    Args:
        file: A file among the revisions.
    """
    return file.is_file() and file.stat().st_size <= LARGEST_FILE


def dropped_tables(script: Script, function: str) -> set[str]:
    """Return the tables that a function of a revision drops by ``op.drop_table("name")``.

    Args:
        script: The revision.
        function: ``upgrade`` or ``downgrade``.
    """
    return {
        call.args[0].value
        for definition in _parsed(Path(script.path)).body
        if isinstance(definition, ast.FunctionDef) and definition.name == function
        for call in ast.walk(definition)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "drop_table"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


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
        raise UnreadableRevisionError(f"{file.name}: 'revision' is not a text")
    return Script(module, module.revision, file)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield our names that a statement of the module gives a value."""
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
    """Return a text, None, or several texts."""
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
        raise UnreadableRevisionError(f"{file.name} is not a file of up to {LARGEST_FILE} bytes")
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableRevisionError(f"{file.name} is not Python: {error}") from None

"""Parsing revision files without running them: their identifiers and destructive operations.

Alembic imports each file, with the rights of the user who runs the command. Commands that only
read revisions parse the same assignments from the syntax tree instead.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
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
        OSError: A file cannot be read.
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


def has_clarinet_base(location: Path) -> bool:
    """Return whether an environment contains Clarinet's first revision.

    Args:
        location: The directory of ``env.py``.
    """
    assignment = rf"^revision\b[^=\n]*=\s*[\"']{BASE_REVISION}[\"']"
    files = (file for file in (location / "versions").glob("*.py") if is_readable(file))
    texts = (file.read_text("utf-8", errors="replace") for file in files)
    return any(re.search(assignment, text, re.MULTILINE) for text in texts)


def find_function(script: Script, name: str) -> Optional[ast.FunctionDef]:
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
        return _syntax(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableRevisionError(f"{file.name} is not Python: {error}") from None


@lru_cache(64)
def _syntax(content: bytes) -> ast.Module:
    """Parse a file once, however often a command reads the revisions."""
    return ast.parse(content)


DROP_TABLE = "drops the table"
UNREADABLE_SQL = "runs SQL that is not a literal string"
STATEMENT = re.compile(
    r"\b(DROP\s+TABLE(?:\s+IF\s+EXISTS)?|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|UPDATE|ALTER\s+TABLE)"
    r"\s+(?:ONLY\s+)?(?:\w+\.)?[\"`\[]?(\w+)",
    re.IGNORECASE,
)
# Values by which op.alter_column rewrites or refuses rows, and what they do.
ALTERATIONS = {
    "type_": "changes the type of the column",
    "new_column_name": "renames the column",
    "nullable": "sets NOT NULL on the column",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A statement of a revision that drops or rewrites stored data.

    Attributes:
        effect: What it does, such as ``drops the column``.
        table: The table; None if it is not a literal.
        column: The column, if it is about one.
    """

    effect: str
    table: Optional[str] = None
    column: Optional[str] = None

    def __str__(self) -> str:
        """Return the effect with its object."""
        name = ".".join(part for part in (self.table, self.column) if part)
        return f"{self.effect} {name}".rstrip()


def destructive_operations(script: Script, function: str) -> list[Operation]:
    """Return what a function of a revision drops or rewrites, in the order of its lines.

    Only calls of ``op`` and of a batch in the function itself are found.

    Args:
        script: The revision.
        function: ``upgrade`` or ``downgrade``.
    """
    definition = find_function(script, function)
    if definition is None:
        return []
    batches = dict(_batches(definition))
    calls = [node for node in ast.walk(definition) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    return [operation for call in calls for operation in _operations(call, batches)]


def dropped_tables(script: Script, function: str) -> set[str]:
    """Return the tables that a function of a revision drops, as far as its text says.

    Args:
        script: The revision.
        function: ``upgrade`` or ``downgrade``.
    """
    operations = destructive_operations(script, function)
    return {item.table for item in operations if item.effect == DROP_TABLE and item.table}


def _batches(definition: ast.FunctionDef) -> Iterator[tuple[str, Optional[str]]]:
    """Yield the variable and the table of each ``with op.batch_alter_table("name") as …``."""
    for node in ast.walk(definition):
        for item in node.items if isinstance(node, ast.With) else ():
            call, variable = item.context_expr, item.optional_vars
            if (
                isinstance(call, ast.Call)
                and _called(call) == "batch_alter_table"
                and isinstance(variable, ast.Name)
            ):
                yield variable.id, _text(call, 0, "table_name")


def _operations(call: ast.Call, batches: dict[str, Optional[str]]) -> Iterator[Operation]:
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    in_batch = isinstance(receiver, ast.Name) and receiver.id in batches
    if in_batch and isinstance(receiver, ast.Name):
        table, column = batches[receiver.id], _text(call, 0, "column_name")
    else:
        table, column = _text(call, 0, "table_name"), _text(call, 1, "column_name")
    match _called(call):
        case "drop_table":
            yield Operation(DROP_TABLE, table)
        case "rename_table":
            yield Operation("renames the table", _text(call, 0, "old_table_name"))
        case "drop_column":
            yield Operation("drops the column", table, column)
        case "alter_column":
            for keyword in call.keywords:
                effect = ALTERATIONS.get(keyword.arg or "")
                relaxes = keyword.arg == "nullable" and ast.unparse(keyword.value) == "True"
                if effect and not relaxes:
                    yield Operation(effect, table, column)
        case "execute":
            yield from _statements(call)


def _statements(call: ast.Call) -> Iterator[Operation]:
    """Yield what the SQL of ``op.execute("…")`` drops or rewrites."""
    if not call.args:
        return
    texts = [
        node.value
        for node in ast.walk(call.args[0])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    if not texts or any(isinstance(node, ast.JoinedStr) for node in ast.walk(call.args[0])):
        yield Operation(UNREADABLE_SQL)
    for text in texts:
        for verb, table in STATEMENT.findall(text):
            words = " ".join(verb.upper().split()).removesuffix(" IF EXISTS")
            effect = DROP_TABLE if words == "DROP TABLE" else f"runs {words}"
            yield Operation(effect, table)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _text(call: ast.Call, position: int, name: str) -> Optional[str]:
    """Return an argument that is a plain text."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == name]
    values += call.args[position : position + 1]
    return next(
        (
            value.value
            for value in values
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        ),
        None,
    )

"""What a revision would drop or rewrite, read from its file without running it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from alembic.script import Script

from clarinet_cli.services.schema.scripts import function_of

DROP_TABLE = "drops the table"
UNREADABLE_SQL = "runs SQL that its file does not have as plain text"
STATEMENT = re.compile(
    r"\b(DROP\s+TABLE(?:\s+IF\s+EXISTS)?|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|UPDATE|ALTER\s+TABLE)"
    r"\s+(?:ONLY\s+)?(?:\w+\.)?[\"`\[]?(\w+)",
    re.IGNORECASE,
)
# Values by which op.alter_column rewrites or refuses rows, and what they do.
ALTERATIONS = {
    "type_": "changes the type of the column",
    "new_column_name": "renames the column",
    "nullable": "makes not NULL the column",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A statement of a revision that drops or rewrites what is stored.

    Attributes:
        effect: What it does, such as ``drops the column``.
        table: The table; None when the file does not say which.
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

    Only calls of ``op`` and of a batch that stand in the function itself are seen.

    Args:
        script: The revision.
        function: ``upgrade`` or ``downgrade``.
    """
    definition = function_of(script, function)
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

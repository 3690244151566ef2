"""Engines whose SQL has an application's table names instead of the Clarinet ones."""

import operator
from typing import Any, Optional

from sqlalchemy import BindParameter, Column
from sqlalchemy.engine import Dialect

from clarinet_cli.mapping import Mapping
from clarinet_cli.models.mapped import DIALECT_ATTRIBUTE, EXPIRES_AT, MappedTables, is_own
from clarinet_cli.models.stored_tables import SESSIONS
from clarinet_cli.types import get_capabilities

TEMPORARY = "temp"
COMPARISONS = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">="}


def use_mapping(dialect: Dialect, mapping: Mapping) -> None:
    """Make a dialect render the Clarinet tables as those of an application.

    Args:
        dialect: The dialect of an engine that has not compiled a statement yet.
        mapping: The mapping.
    """
    tables = MappedTables(mapping, get_capabilities(mapping), dialect)
    preparer = _preparer_class(type(dialect.identifier_preparer), tables)
    changed: Any = dialect
    changed.preparer = preparer
    changed.identifier_preparer = preparer(dialect)
    changed.statement_compiler = _compiler_class(dialect.statement_compiler, tables)
    setattr(dialect, DIALECT_ATTRIBUTE, tables)


def _preparer_class(base: Any, tables: MappedTables) -> Any:
    class MappedPreparer(base):  # type: ignore[misc]  # the dialect chooses it
        """Quotes names, and those of tables and columns that are written."""

        def format_table(
            self, table: Any, use_schema: bool = True, name: Optional[str] = None
        ) -> str:
            """Return the name of a table that rows are inserted into."""
            if name is None and is_own(table):
                return tables.written_table(table.name)
            return str(super().format_table(table, use_schema, name))

        def format_column(self, column: Any, *args: Any, **options: Any) -> str:
            """Return the name of a column that is written."""
            own = isinstance(column, Column) and is_own(column.table)
            if own and not args and not options.get("name"):
                stored = tables.names[column.table.name].get(column.name)
                if stored is not None:
                    return str(tables.quote(stored))
                return tables.column(column.table.name, column.name, qualified=False)
            return str(super().format_column(column, *args, **options))

    return MappedPreparer


def _comparing_class(base: Any, tables: MappedTables) -> Any:
    class ComparingCompiler(base):  # type: ignore[misc]  # the dialect chooses it
        """Compiles a comparison of a derived expiry as one of the column that it is derived from.

        An index can serve it then.
        """

        def visit_binary(self, binary: Any, *args: Any, **options: Any) -> str:
            """Return an expression of two operands."""
            sql_operator = _expiry_operator(binary) if tables.derives_expiry else None
            if sql_operator is None or not self._is_mapped(binary.left.table):
                return str(super().visit_binary(binary, *args, **options))
            qualified = options.get("include_table", True)
            created = tables.column(SESSIONS, "created_at", qualified=qualified)
            timestamp = self.process(binary.right, **options)
            return f"{created} {sql_operator} {tables.latest_creation(timestamp)}"

        def _is_mapped(self, table: Any) -> bool:
            """Return whether a table is a Clarinet table and is not read from a temporary copy."""
            translated = (getattr(self, "schema_translate_map", None) or {}).get(None)
            return is_own(table) and translated != TEMPORARY

    return ComparingCompiler


def _expiry_operator(binary: Any) -> Optional[str]:
    """Return the operator by which the expiry of sessions is compared with a parameter."""
    left = binary.left
    if not (isinstance(left, Column) and isinstance(binary.right, BindParameter)):
        return None
    is_expiry = is_own(left.table) and (left.table.name, left.name) == (SESSIONS, EXPIRES_AT)
    return COMPARISONS.get(binary.operator) if is_expiry else None


def _compiler_class(base: Any, tables: MappedTables) -> Any:
    class MappedCompiler(_comparing_class(base, tables)):  # type: ignore[misc]  # the dialect chooses it
        """Compiles statements."""

        _selects_expiry = False

        def visit_table(self, table: Any, *args: Any, **options: Any) -> str:
            """Return a table in FROM, or one that is changed."""
            default = str(super().visit_table(table, *args, **options))
            if not default or not self._is_mapped(table) or options.get("ashint"):
                return default
            name = table.name
            return tables.written_table(name) if options.get("iscrud") else tables.read_table(name)

        def visit_column(
            self,
            column: Any,
            add_to_result_map: Any = None,
            include_table: bool = True,
            **options: Any,
        ) -> str:
            """Return a column that is read, and register it as a result."""
            default = super().visit_column(
                column,
                add_to_result_map=add_to_result_map,
                include_table=include_table,
                **options,
            )
            if column.table is None or column.is_literal or not is_own(column.table):
                return str(default)
            table, name = column.table.name, column.name
            if not self._is_mapped(column.table):
                return str(default)
            if self._selects_expiry and not tables.has(table, name):
                return tables.null(name)
            if self._selects_expiry:
                return tables.column(table, name, qualified=include_table, nullable=True)
            return tables.column(table, name, qualified=include_table)

        def _label_select_column(self, select: Any, column: Any, *args: Any, **options: Any) -> Any:
            """Return a column of a SELECT; an expiry that there is not is NULL there."""
            own = isinstance(column, Column) and is_own(column.table)
            own_column = (column.table.name, column.name) if own else None
            self._selects_expiry = tables.may_never_expire and own_column == (SESSIONS, EXPIRES_AT)
            try:
                return super()._label_select_column(select, column, *args, **options)
            finally:
                self._selects_expiry = False

    return MappedCompiler

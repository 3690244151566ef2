"""The rows of the target table, each a function from a bench to its figures."""

from collections.abc import Callable

from tests.benchmarks.figures import Figure
from tests.benchmarks.places import Bench
from tests.benchmarks.rows.accounts import apply_dry, export_accounts, list_accounts
from tests.benchmarks.rows.apply import apply
from tests.benchmarks.rows.backup import backup_sqlite
from tests.benchmarks.rows.checks import check, doctor
from tests.benchmarks.rows.clean import (
    clean_chronological,
    clean_postgresql,
    clean_rollback,
    clean_sorted,
    clean_wal,
)
from tests.benchmarks.rows.look import list_sessions, stats_postgresql, stats_sqlite
from tests.benchmarks.rows.memory import memory_postgresql, memory_sqlite
from tests.benchmarks.rows.old import old_postgresql, old_sqlite
from tests.benchmarks.rows.start import help_and_completion, stats_start

ROWS: dict[str, Callable[[Bench], list[Figure]]] = {
    "help": help_and_completion,
    "stats-start": stats_start,
    "clean-sqlite": clean_wal,
    "clean-sqlite-rollback": clean_rollback,
    "clean-sqlite-chronological": clean_chronological,
    "clean-sqlite-sorted": clean_sorted,
    "clean-pg": clean_postgresql,
    "clean-old-sqlite": old_sqlite,
    "clean-old-pg": old_postgresql,
    "clean-memory-sqlite": memory_sqlite,
    "clean-memory-pg": memory_postgresql,
    "backup-sqlite": backup_sqlite,
    "stats-sqlite": stats_sqlite,
    "stats-pg": stats_postgresql,
    "list": list_sessions,
    "apply": apply,
    "accounts-list": list_accounts,
    "accounts-export": export_accounts,
    "accounts-apply-dry": apply_dry,
    "doctor": doctor,
    "check": check,
}

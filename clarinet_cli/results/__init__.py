"""The results of commands. Their field names are a public contract.

Scripts read these names from ``-o json``, ``jsonl`` and ``csv``; a snapshot test checks them. All
timestamps are timezone-aware UTC, all durations are in seconds.
"""

from clarinet_cli.results.accounts import (
    AccountChange,
    AccountDetail,
    AppliedAccount,
    DeclaredAccount,
    RoleRow,
    UserRow,
)
from clarinet_cli.results.checks import CheckRow, Finding, SettingRow, SettingsFile
from clarinet_cli.results.database import (
    BackupContents,
    BackupReport,
    DatabaseStatus,
    ExitCodeRow,
    FileChange,
    Inspection,
    MigrationRun,
    MigrationStatus,
    ResetReport,
    RestoreReport,
    RevisionRow,
    Step,
    VacuumReport,
    WaitReport,
)
from clarinet_cli.results.sessions import (
    CleanupReport,
    RevokeAllReport,
    RevokeReport,
    SessionChange,
    SessionDetail,
    SessionGroup,
    SessionPage,
    SessionRow,
    SessionStats,
)

__all__ = [
    "AccountChange",
    "AccountDetail",
    "AppliedAccount",
    "BackupContents",
    "BackupReport",
    "CheckRow",
    "CleanupReport",
    "DatabaseStatus",
    "DeclaredAccount",
    "ExitCodeRow",
    "FileChange",
    "Finding",
    "Inspection",
    "MigrationRun",
    "MigrationStatus",
    "ResetReport",
    "RestoreReport",
    "RevisionRow",
    "RevokeAllReport",
    "RevokeReport",
    "RoleRow",
    "SessionChange",
    "SessionDetail",
    "SessionGroup",
    "SessionPage",
    "SessionRow",
    "SessionStats",
    "SettingRow",
    "SettingsFile",
    "Step",
    "UserRow",
    "VacuumReport",
    "WaitReport",
]

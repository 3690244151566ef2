"""Schema revisions: moving between them, whose they are, and writing new ones."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest

from clarinet_cli.exceptions import (
    BusyError,
    CheckFailedError,
    ClarinetError,
    ConflictError,
    ExitCode,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.results import FileChange, MigrationRun, MigrationStatus, RevisionRow, Step
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.services.schema import (
    create_revision,
    downgrade,
    ensure_schema,
    history,
    init_environment,
    migration_sql,
    migration_status,
    upgrade,
)
from clarinet_cli.services.schema.environments import packaged_location
from clarinet_cli.services.schema.scripts import BASE_REVISION
from clarinet_cli.settings import use_project
from tests import forked
from tests.migrations.helpers import (
    SECOND,
    THIRD,
    add_two_revisions,
    create_empty_database,
    files,
    schema,
    snapshot,
    table_names,
    versions,
    write_revision,
)
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, process_environment

OURS = {*TABLE_NAMES, "alembic_version"}
SERVER_REVISION = {"sqlite": "e0c342bf4487", "postgresql": "453584a0fa73"}
HOLD_LOCK = """
import asyncio, sys
from pathlib import Path
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.settings import load_settings

async def hold():
    async with job_lock(load_settings(Path(sys.argv[1])), Job.MIGRATION):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""
# A table in the schema of the first revision, and one more statement that fails.
FAILING = """op.execute("CREATE TABLE half (id integer)")
op.execute("INSERT INTO there_is_no_such_table VALUES (1)")"""


@pytest.fixture
def behind(project: Project) -> Project:
    """A database at the first of three revisions of the project's own environment."""
    add_two_revisions(project)
    return project


@contextmanager
def nothing_changes(project: Project) -> Iterator[None]:
    """Fail unless the whole database and the project directory are the same afterwards."""
    before = snapshot(project), file_names(project)
    yield
    assert snapshot(project) == before[0]
    assert file_names(project) == before[1]


def file_names(project: Project) -> set[str]:
    """Return the files of the project directory, lock files beside the database left out."""
    return {name for name in files(project.directory) if not name.endswith(".lock")}


class TestUpgrade:
    """From a revision to a later one."""

    def test_from_nothing(self, created: Project) -> None:
        """An empty database gets all revisions; the report has both revisions."""
        run = asyncio.run(upgrade(created.settings))
        assert run == MigrationRun("updated", None, BASE_REVISION, (BASE_REVISION,))
        assert table_names(created) == OURS
        assert versions(created) == [BASE_REVISION]

    def test_again(self, project: Project) -> None:
        """At head there is nothing to do, and nothing is done."""
        with nothing_changes(project):
            run = asyncio.run(upgrade(project.settings))
        assert run == MigrationRun("unchanged", BASE_REVISION, BASE_REVISION, ())

    @pytest.mark.parametrize(
        ("target", "passed"),
        [
            ("head", (SECOND, THIRD)),
            ("+1", (SECOND,)),
            (SECOND[:3], (SECOND,)),
        ],
    )
    def test_from_an_earlier_one(
        self, behind: Project, target: str, passed: tuple[str, ...]
    ) -> None:
        """A dry run announces the way and writes nothing; the real run takes it, in order."""
        with nothing_changes(behind):
            planned = asyncio.run(upgrade(behind.settings, target, dry_run=True))

        run = asyncio.run(upgrade(behind.settings, target))

        assert planned == MigrationRun("would_update", BASE_REVISION, passed[-1], passed)
        assert run == MigrationRun("updated", BASE_REVISION, passed[-1], passed)
        assert versions(behind) == [passed[-1]]
        made = {"second"} if passed == (SECOND,) else {"second", "third"}
        assert table_names(behind) == OURS | made
        assert behind.count("user") == 1

    def test_dry_run_at_head(self, project: Project) -> None:
        """A dry run with nothing to do reports it."""
        with nothing_changes(project):
            run = asyncio.run(upgrade(project.settings, dry_run=True))
        assert run == MigrationRun("unchanged", BASE_REVISION, BASE_REVISION, ())

    def test_unknown_revision(self, behind: Project) -> None:
        """There is no such revision: not found, with the command that lists them."""
        with nothing_changes(behind):
            for target in ("nope", "b2000000000f", "+3", "no such revision", "-1x"):
                with pytest.raises(NotFoundError) as caught:
                    asyncio.run(upgrade(behind.settings, target))
                assert target in caught.value.message
                assert "clarinet migrate history" in str(caught.value.hint)

    def test_unknown_revision_of_an_empty_database(self, created: Project) -> None:
        """Not found comes before any table is made."""
        with nothing_changes(created), pytest.raises(NotFoundError):
            asyncio.run(upgrade(created.settings, "nope"))

    def test_ambiguous_prefix(self, behind: Project) -> None:
        """A prefix of two revisions is refused with both of them, nothing changed."""
        twin = f"{SECOND[:-1]}9"
        write_revision(behind.directory, twin, down_revision=THIRD)
        with nothing_changes(behind), pytest.raises(RefusedError) as caught:
            asyncio.run(upgrade(behind.settings, SECOND[:4]))
        assert SECOND in caught.value.message
        assert twin in caught.value.message

    def test_missing_database(self, empty_project: Project) -> None:
        """A missing database is not made, neither a file beside it: only 'db init' makes one."""
        with pytest.raises(UnreachableError) as caught:
            asyncio.run(upgrade(empty_project.settings))
        assert "clarinet db init" in str(caught.value.hint)
        assert set(files(empty_project.directory)) == {"settings.toml"}

    def test_dry_run_creates_no_file(self, empty_project: Project) -> None:
        """A dry run on a missing database leaves it missing."""
        with pytest.raises(UnreachableError):
            asyncio.run(upgrade(empty_project.settings, dry_run=True))
        assert set(files(empty_project.directory)) == {"settings.toml"}

    def test_rebuilt_table_keeps_the_rows_that_point_at_it(self, project: Project) -> None:
        """SQLite changes a column by rebuilding the table: no session and no role is lost."""
        user = project.add_user("ada@clarinet.example")
        token = project.add_session(user)
        links = project.count("userroleslink")
        init_environment(project.directory, force=False)
        write_revision(
            project.directory,
            SECOND,
            upgrade='with op.batch_alter_table("user") as table:\n'
            '    table.alter_column("email", type_=sa.String(320))',
        )

        asyncio.run(upgrade(project.settings))

        assert versions(project) == [SECOND]
        assert "320" in repr(schema(project)["user"]["columns"])
        assert project.count("user") == 2
        assert project.tokens() == {token}
        assert project.count("userroleslink") == links == 1


class TestDowngrade:
    """From a revision to an earlier one."""

    @pytest.mark.parametrize(
        ("target", "reached", "passed"),
        [
            ("-1", SECOND, (THIRD,)),
            ("c1a9", BASE_REVISION, (THIRD, SECOND)),
            ("base", None, (THIRD, SECOND, BASE_REVISION)),
            ("-3", None, (THIRD, SECOND, BASE_REVISION)),
        ],
    )
    def test_to_an_earlier_one(
        self, behind: Project, target: str, reached: Optional[str], passed: tuple[str, ...]
    ) -> None:
        """A dry run announces the way, the real run takes it, and its tables are gone."""
        asyncio.run(upgrade(behind.settings))
        with nothing_changes(behind):
            planned = asyncio.run(downgrade(behind.settings, target, dry_run=True))

        run = asyncio.run(downgrade(behind.settings, target))

        assert planned == MigrationRun("would_update", THIRD, reached, passed)
        assert run == MigrationRun("updated", THIRD, reached, passed)
        assert versions(behind) == ([reached] if reached else [])
        tables = table_names(behind)
        assert ("third" in tables, "second" in tables) == (False, SECOND not in passed)
        assert ("user" in tables) == (reached is not None)

    def test_where_it_is_already(self, project: Project) -> None:
        """To the current revision there is nothing to do."""
        with nothing_changes(project):
            run = asyncio.run(downgrade(project.settings, BASE_REVISION))
        assert run == MigrationRun("unchanged", BASE_REVISION, BASE_REVISION, ())

    def test_too_far_or_unknown(self, project: Project) -> None:
        """More steps than there are, or an unknown revision: not found, nothing changed."""
        with nothing_changes(project):
            for target in ("-3", "-10", "nope"):
                for dry_run in (True, False):
                    with pytest.raises(NotFoundError, match=target):
                        asyncio.run(downgrade(project.settings, target, dry_run=dry_run))

    def test_later_revision(self, behind: Project) -> None:
        """A downgrade to a later revision is not found; nothing changed."""
        with nothing_changes(behind), pytest.raises(NotFoundError, match=THIRD):
            asyncio.run(downgrade(behind.settings, THIRD))

    def test_missing_database(self, empty_project: Project) -> None:
        """There is nothing to take back, and no file is made."""
        with pytest.raises(UnreachableError):
            asyncio.run(downgrade(empty_project.settings, "base"))
        assert file_names(empty_project) == {"settings.toml"}

    def test_missing_directory(self, tmp_path: Path) -> None:
        """A mistyped path of a SQLite file is an error, and no directory is made for it."""
        (tmp_path / "settings.toml").write_text('database_name = "no/such/place"\n')
        project = Project(tmp_path, "sqlite", "no/such/place")
        with pytest.raises(ClarinetError):
            asyncio.run(downgrade(project.settings, "base"))
        assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]


class TestForeignDatabase:
    """A database that a real server's environment migrates."""

    def test_upgrade(self, server_project: Project) -> None:
        """Refused with its revision; schema, revision and rows are untouched."""
        revision = SERVER_REVISION[server_project.backend]
        with nothing_changes(server_project):
            for target in ("head", BASE_REVISION, "+1"):
                for dry_run in (True, False):
                    with pytest.raises(RefusedError, match=revision):
                        asyncio.run(upgrade(server_project.settings, target, dry_run=dry_run))
        assert versions(server_project) == [revision]

    def test_downgrade(self, server_project: Project) -> None:
        """Refused with its revision; not one table is dropped."""
        revision = SERVER_REVISION[server_project.backend]
        with nothing_changes(server_project):
            for target in ("base", "-1"):
                for dry_run in (True, False):
                    with pytest.raises(RefusedError, match=revision):
                        asyncio.run(downgrade(server_project.settings, target, dry_run=dry_run))
        assert set(TABLE_NAMES) < table_names(server_project)

    def test_create_revision(self, server_project: Project) -> None:
        """No revision is written against another program's schema."""
        init_environment(server_project.directory, force=False)
        revision = SERVER_REVISION[server_project.backend]
        with nothing_changes(server_project), pytest.raises(RefusedError, match=revision):
            asyncio.run(create_revision(server_project.settings, "a change"))

    def test_create_revision_does_not_advise_an_environment(self, server_project: Project) -> None:
        """Without an environment too, since one would be refused afterwards."""
        result = server_project.run("migrate", "create", "-m", "a change")
        assert result.code == ExitCode.REFUSED, result
        assert "another Alembic environment migrates this database" in result.stderr
        assert "migrate init" not in result.stderr

    def test_ensure_schema(self, server_project: Project) -> None:
        """The schema is not changed, and the step gives the reason."""
        with nothing_changes(server_project):
            planned = asyncio.run(ensure_schema(server_project.settings, dry_run=True))
            step = asyncio.run(ensure_schema(server_project.settings))
        assert planned == step
        assert (step.step, step.result) == ("schema", "unchanged")
        assert SERVER_REVISION[server_project.backend] in step.detail

    def test_status(self, server_project: Project) -> None:
        """Its revision is unknown, nothing is pending, and it is not at head."""
        with nothing_changes(server_project):
            status = asyncio.run(migration_status(server_project.settings))
        assert status == MigrationStatus(
            environment=str(packaged_location()),
            current=(SERVER_REVISION[server_project.backend],),
            heads=(BASE_REVISION,),
            pending=(),
            unknown=(SERVER_REVISION[server_project.backend],),
            up_to_date=False,
        )


class TestFailure:
    """A revision that fails leaves no trace, on SQLite too."""

    @pytest.mark.parametrize(
        "failing",
        [FAILING, 'op.create_table("half", sa.Column("id", sa.Integer()))\nraise KeyError("x")'],
        ids=["statement", "exception"],
    )
    def test_in_the_middle_of_an_upgrade(self, behind: Project, failing: str) -> None:
        """The second of two statements fails: the revisions before it are taken back too."""
        fourth = "d40000000004"
        write_revision(behind.directory, fourth, down_revision=THIRD, upgrade=failing)
        with nothing_changes(behind):
            result = behind.run("migrate", "upgrade")
        assert (result.code, result.stdout) == (ExitCode.FAILURE, "")
        assert result.stderr.startswith("error: ")
        assert "INSERT" not in result.stderr
        assert "Traceback" not in result.stderr

        write_revision(behind.directory, fourth, down_revision=THIRD)
        assert asyncio.run(upgrade(behind.settings)).revisions == (SECOND, THIRD, fourth)
        assert table_names(behind) == {*OURS, "second", "third"}

    def test_in_the_middle_of_a_downgrade(self, behind: Project) -> None:
        """The second of two steps back fails: the first is taken back too."""
        asyncio.run(upgrade(behind.settings))
        write_revision(
            behind.directory,
            SECOND,
            downgrade='op.drop_table("second")\nop.drop_table("there_is_no_such_table")',
        )
        with nothing_changes(behind), pytest.raises(ClarinetError):
            asyncio.run(downgrade(behind.settings, "base"))
        assert versions(behind) == [THIRD]

    def test_on_an_empty_database(self, created: Project) -> None:
        """Not even Alembic's own table stays."""
        init_environment(created.directory, force=False)
        write_revision(created.directory, SECOND, upgrade=FAILING)
        with nothing_changes(created), pytest.raises(ClarinetError):
            asyncio.run(upgrade(created.settings))
        assert table_names(created) == set()


class TestLock:
    """One migration at a time."""

    def test_held_by_another_task(self, behind: Project) -> None:
        """Upgrade and downgrade end as busy when the lock is not free in time."""

        async def try_both() -> None:
            async with job_lock(behind.settings, Job.MIGRATION):
                with pytest.raises(BusyError, match="migration"):
                    await upgrade(behind.settings, lock_timeout=0.3)
                with pytest.raises(BusyError, match="migration"):
                    await downgrade(behind.settings, "base", lock_timeout=0)

        with nothing_changes(behind):
            asyncio.run(try_both())
        assert asyncio.run(upgrade(behind.settings)).result == "updated"

    def test_held_by_another_process(self, behind: Project) -> None:
        """Busy, nothing changed; when that process is killed the lock is free."""
        where = [str(behind.directory)]
        with forked.start(where, program=HOLD_LOCK, env=process_environment({})) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == b"held\n"
                with nothing_changes(behind), pytest.raises(BusyError):
                    asyncio.run(upgrade(behind.settings, lock_timeout=0.3))
            finally:
                holder.kill()
        assert (
            asyncio.run(upgrade(behind.settings, lock_timeout=PATIENCE_SECONDS)).result == "updated"
        )
        assert versions(behind) == [THIRD]

    def test_given_back_in_time(self, behind: Project) -> None:
        """A lock that becomes free is waited for."""

        async def hold(held: asyncio.Event, tried: asyncio.Event) -> None:
            async with job_lock(behind.settings, Job.MIGRATION):
                held.set()
                await tried.wait()
                await asyncio.sleep(0.1)

        async def try_it() -> MigrationRun:
            held, tried = asyncio.Event(), asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hold(held, tried))
                await held.wait()
                second = tasks.create_task(upgrade(behind.settings, lock_timeout=PATIENCE_SECONDS))
                tried.set()
            return second.result()

        assert asyncio.run(try_it()).revisions == (SECOND, THIRD)
        assert versions(behind) == [THIRD]

    def test_other_writer(self, behind: Project) -> None:
        """A database locked by any other program ends as busy too, nothing changed."""

        async def try_it() -> None:
            async with locked_by_another_program(behind):
                with pytest.raises(BusyError):
                    await upgrade(behind.settings, lock_timeout=0.3)

        with nothing_changes(behind):
            asyncio.run(try_it())

    def test_two_upgrades_at_once(self, created: Project) -> None:
        """Both succeed; one did the work, the other found it done."""

        async def both() -> list[MigrationRun]:
            return await asyncio.gather(*(upgrade(created.settings) for _ in range(2)))

        runs = asyncio.run(both())
        assert sorted(run.result for run in runs) == ["unchanged", "updated"]
        assert table_names(created) == OURS
        assert versions(created) == [BASE_REVISION]


@asynccontextmanager
async def locked_by_another_program(project: Project) -> AsyncIterator[None]:
    """Hold a lock that blocks every migration, without the tool."""
    if project.server is None:
        with closing(sqlite3.connect(project.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    connection = await project.server.connect(project.database)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE alembic_version")
            yield
    finally:
        await connection.close()


class TestEnsureSchema:
    """The step of ``db init``."""

    def test_empty_database(self, created: Project) -> None:
        """Announced, created, and then unchanged."""
        with nothing_changes(created):
            planned = asyncio.run(ensure_schema(created.settings, dry_run=True))
        steps = [asyncio.run(ensure_schema(created.settings)) for _ in range(2)]
        assert planned == Step("schema", "would_create", f"revision {BASE_REVISION}")
        assert [step.result for step in steps] == ["created", "unchanged"]
        assert table_names(created) == OURS
        assert versions(created) == [BASE_REVISION]

    def test_behind(self, behind: Project) -> None:
        """Announced, updated to head, and then unchanged."""
        with nothing_changes(behind):
            planned = asyncio.run(ensure_schema(behind.settings, dry_run=True))
        steps = [asyncio.run(ensure_schema(behind.settings)) for _ in range(2)]
        assert planned == Step("schema", "would_update", f"revision {THIRD}")
        assert [step.result for step in steps] == ["updated", "unchanged"]
        assert versions(behind) == [THIRD]

    def test_four_tables_without_a_revision_are_adopted(self, project: Project) -> None:
        """Clarinet tables without a revision are stamped; tables and rows are kept."""
        project.rows("DROP TABLE alembic_version")
        before = snapshot(project)
        with nothing_changes(project):
            planned = asyncio.run(ensure_schema(project.settings, dry_run=True))
        assert planned.result == "would_update"

        step = asyncio.run(ensure_schema(project.settings))

        assert step.result == "updated"
        assert versions(project) == [BASE_REVISION]
        after = snapshot(project)
        for part in (*before, *after):
            part.pop("alembic_version", None)
        assert after == before
        assert asyncio.run(ensure_schema(project.settings)).result == "unchanged"

    @pytest.mark.parametrize(
        "change",
        [
            "DROP TABLE access_token",
            "ALTER TABLE access_token DROP COLUMN ip_address",
            "DROP INDEX ix_user_email",
        ],
    )
    def test_tables_that_differ_from_clarinets(self, project: Project, change: str) -> None:
        """Some of the Clarinet tables, or changed ones, without a revision: a conflict."""
        project.rows("DROP TABLE alembic_version")
        project.rows(change)
        with nothing_changes(project):
            for dry_run in (True, False):
                with pytest.raises(ConflictError):
                    asyncio.run(ensure_schema(project.settings, dry_run=dry_run))

    def test_tables_of_another_program(self, server_project: Project) -> None:
        """The four among tables of another program without a revision: not changed."""
        server_project.rows("DROP TABLE alembic_version")
        with nothing_changes(server_project):
            planned = asyncio.run(ensure_schema(server_project.settings, dry_run=True))
            step = asyncio.run(ensure_schema(server_project.settings))
        assert planned == step
        assert (step.step, step.result) == ("schema", "unchanged")

    def test_other_tables_only(self, created: Project) -> None:
        """With only unrelated tables the Clarinet tables are created, the others unchanged."""
        created.rows("CREATE TABLE neighbour (id integer PRIMARY KEY)")
        created.rows("INSERT INTO neighbour VALUES (7)")
        before = schema(created)
        asyncio.run(ensure_schema(created.settings))
        assert table_names(created) == {*OURS, "neighbour"}
        assert schema(created)["neighbour"] == before["neighbour"]
        assert created.rows("SELECT * FROM neighbour") == [(7,)]


def doc(revision: str) -> str:
    """Return the first line of a revision of the tests."""
    return f"{revision}: a revision of the tests."


class TestStatusAndHistory:
    """Looking changes nothing."""

    def test_status_of_an_empty_database(self, created: Project) -> None:
        """No revision; all of Clarinet's are pending."""
        with nothing_changes(created):
            status = asyncio.run(migration_status(created.settings))
        assert (status.current, status.heads) == ((), (BASE_REVISION,))
        assert (status.pending, status.unknown) == ((BASE_REVISION,), ())
        assert status.up_to_date is False

    def test_status_behind_and_at_head(self, behind: Project) -> None:
        """Pending revisions are listed in the order of an upgrade, until there are none."""
        with nothing_changes(behind):
            status = asyncio.run(migration_status(behind.settings))
        assert status == MigrationStatus(
            environment=str(behind.directory / "alembic"),
            current=(BASE_REVISION,),
            heads=(THIRD,),
            pending=(SECOND, THIRD),
            unknown=(),
            up_to_date=False,
        )
        asyncio.run(upgrade(behind.settings))
        status = asyncio.run(migration_status(behind.settings))
        assert (status.current, status.pending, status.up_to_date) == ((THIRD,), (), True)

    def test_status_of_a_missing_database(self, empty_project: Project) -> None:
        """It cannot be reached, and asking does not create it."""
        with pytest.raises(UnreachableError):
            asyncio.run(migration_status(empty_project.settings))
        assert set(files(empty_project.directory)) == {"settings.toml"}

    def test_history(self, behind: Project) -> None:
        """Newest first, with marks for where the database is and for the head."""
        asyncio.run(upgrade(behind.settings, SECOND))
        with nothing_changes(behind):
            rows = asyncio.run(history(behind.settings))
        assert rows[:2] == [
            RevisionRow(THIRD, SECOND, doc(THIRD), current=False, head=True),
            RevisionRow(SECOND, BASE_REVISION, doc(SECOND), current=True, head=False),
        ]
        assert [row.revision for row in rows] == [THIRD, SECOND, BASE_REVISION]
        assert (rows[2].down_revision, rows[2].current, rows[2].head) == (None, False, False)
        assert rows[2].message

    def test_history_of_an_empty_database(self, created: Project) -> None:
        """No revision is current."""
        rows = asyncio.run(history(created.settings))
        assert [(row.revision, row.current, row.head) for row in rows] == [
            (BASE_REVISION, False, True)
        ]


class TestSql:
    """Printing instead of running."""

    def test_upgrade_makes_the_same_schema(self, empty_project: Project) -> None:
        """The SQL, run by the database's own tools on nothing, makes what an upgrade makes."""
        text = empty_project.run("migrate", "upgrade", "--sql").stdout
        assert set(files(empty_project.directory)) == {"settings.toml"}
        create_empty_database(empty_project)

        run_script(empty_project, text)

        by_script = snapshot(empty_project)
        assert table_names(empty_project) == OURS
        asyncio.run(downgrade(empty_project.settings, "base"))
        asyncio.run(upgrade(empty_project.settings))
        assert snapshot(empty_project) == by_script

    def test_downgrade_from_head(self, project: Project) -> None:
        """Down from head: run by hand, it removes the tables; printing it changes nothing."""
        with nothing_changes(project):
            text = migration_sql(project.settings, "base", down=True)
        run_script(project, text)
        assert table_names(project) & set(TABLE_NAMES) == set()

    def test_way_between_two_revisions(self, behind: Project) -> None:
        """FROM:TO prints that way only, up and down."""
        with nothing_changes(behind):
            up = migration_sql(behind.settings, f"{BASE_REVISION}:{SECOND}")
            down = migration_sql(behind.settings, f"{THIRD}:{SECOND}", down=True)
        assert [name for name in ("user", "second", "third") if f"CREATE TABLE {name} " in up] == [
            "second"
        ]
        assert [name for name in ("second", "third") if f"DROP TABLE {name};" in down] == ["third"]

    def test_dialect_is_that_of_the_settings_given(self, project: Project, tmp_path: Path) -> None:
        """The SQL is for the database of the given settings, not of the current project."""
        other = tmp_path / "other"
        other.mkdir()
        driver = "sqlite" if project.server else "postgresql"
        (other / "settings.toml").write_text(f'database_driver = "{driver}"\n')
        use_project(other)
        try:
            text = migration_sql(project.settings, "head")
        finally:
            use_project(None)
        assert ("TIMESTAMP WITH TIME ZONE" in text) == (project.server is not None)
        assert ("DATETIME" in text) == (project.server is None)

    @pytest.mark.parametrize("words", [["upgrade"], ["downgrade", "base"]])
    def test_command_prints_the_sql_alone(self, project: Project, words: list[str]) -> None:
        """The command's standard output is the SQL; nothing is logged, asked or changed."""
        with nothing_changes(project):
            result = project.run("migrate", *words, "--sql")
        assert (result.code, result.stderr) == (0, "")
        assert "alembic_version" in result.stdout
        assert "INFO" not in result.stdout

    def test_invalid_settings(self, tmp_path: Path) -> None:
        """Settings that cannot be used end with the same code as without --sql."""
        (tmp_path / "settings.toml").write_text('database_url = "mysql://x"\n')
        result = Project(tmp_path, "sqlite", "clarinet").run("migrate", "upgrade", "--sql")
        assert (result.code, result.stdout) == (ExitCode.CONFIGURATION, "")
        assert "settings.toml: database_url: " in result.stderr

    def test_unknown_revision(self, project: Project) -> None:
        """There is no SQL to a revision that does not exist."""
        for down in (False, True):
            with pytest.raises(NotFoundError, match="nope"):
                migration_sql(project.settings, "nope", down=down)


def run_script(project: Project, text: str) -> None:
    """Run SQL as ``sqlite3`` or ``psql`` would."""
    if project.server is None:
        with closing(sqlite3.connect(project.file)) as connection:
            connection.executescript(text)
        return
    server = project.server

    async def run() -> None:
        connection: Any = await server.connect(project.database)
        try:
            await connection.execute(text)
        finally:
            await connection.close()

    asyncio.run(run())


class TestCreateRevision:
    """Writing a new revision into the project's environment."""

    @pytest.mark.parametrize(("empty", "dry_run"), [(False, False), (True, False), (True, True)])
    def test_packaged_environment(self, project: Project, empty: bool, dry_run: bool) -> None:
        """Writing into the package is refused, with the command that helps."""
        packaged = files(packaged_location())
        with nothing_changes(project), pytest.raises(RefusedError) as caught:
            asyncio.run(create_revision(project.settings, "x", empty=empty, dry_run=dry_run))
        assert "clarinet migrate init" in str(caught.value.hint)
        assert files(packaged_location()) == packaged

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_not_at_head(self, behind: Project, dry_run: bool) -> None:
        """The database must be at head to be compared: the check fails with what is pending."""
        with nothing_changes(behind), pytest.raises(CheckFailedError, match=SECOND) as caught:
            asyncio.run(create_revision(behind.settings, "x", dry_run=dry_run))
        assert "clarinet migrate upgrade" in str(caught.value.hint)

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_nothing_to_do(self, project: Project, dry_run: bool) -> None:
        """Models and database agree: no file is reported, none written."""
        init_environment(project.directory, force=False)
        with nothing_changes(project):
            found = asyncio.run(create_revision(project.settings, "x", dry_run=dry_run))
        assert found == []

    def test_difference(self, project: Project) -> None:
        """A missing column and index: the revision that is written puts them back."""
        wanted = schema(project)
        token = project.add_session(project.add_user("ada@clarinet.example"))
        project.rows("DROP INDEX ix_access_token_expires_at")
        project.rows("ALTER TABLE access_token DROP COLUMN user_agent")
        init_environment(project.directory, force=False)
        with nothing_changes(project):
            planned = asyncio.run(create_revision(project.settings, "put back", dry_run=True))
        assert [change.result for change in planned] == ["would_create"]
        before = file_names(project)

        changes = asyncio.run(create_revision(project.settings, "put back"))

        new = {str(project.directory / name) for name in file_names(project) - before}
        assert [change.result for change in changes] == ["created"]
        assert {change.path for change in changes} == new
        text = Path(changes[0].path).read_text()
        assert "put back" in text
        assert "clarinet_cli" not in text
        asyncio.run(upgrade(project.settings))
        repaired = schema(project)
        for table in (wanted["access_token"], repaired["access_token"]):
            table["columns"].sort()
        assert repaired == wanted
        assert project.tokens() == {token}
        assert asyncio.run(create_revision(project.settings, "again")) == []

    def test_empty(self, behind: Project) -> None:
        """Without operations, after the newest, also when the database is not at head."""
        before = file_names(behind)
        changes = asyncio.run(create_revision(behind.settings, "by hand", empty=True))

        assert [change.result for change in changes] == ["created"]
        new = file_names(behind) - before
        assert {change.path for change in changes} == {str(behind.directory / name) for name in new}
        rows = asyncio.run(history(behind.settings))
        assert (rows[0].message, rows[0].down_revision, rows[0].head) == ("by hand.", THIRD, True)
        tables = {*table_names(behind), "second", "third"}
        assert asyncio.run(upgrade(behind.settings)).to_revision == rows[0].revision
        assert table_names(behind) == tables

    def test_empty_dry_run(self, behind: Project) -> None:
        """It reports the file that would be created, and creates none."""
        with nothing_changes(behind):
            changes: list[FileChange] = asyncio.run(
                create_revision(behind.settings, "by hand", empty=True, dry_run=True)
            )
        assert [change.result for change in changes] == ["would_create"]

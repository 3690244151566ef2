"""A schema that is not the expected one: the error names it, with a hint that ends it."""

import asyncio
import os
import re
from collections.abc import Callable
from typing import Optional

import pytest

from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.services.schema import init_environment, migration_status
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests import forked
from tests.forked import ALEMBIC
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
from tests.support import PASSWORD, Project, Result, process_environment

INIT = ("db", "init", "--password-stdin")
CHILD = """CREATE TABLE record (
  id integer PRIMARY KEY, user_id {uuid} REFERENCES "user" (id)
)"""


def init(project: Project, *words: str) -> Result:
    """Make the database ready."""
    return project.run(*INIT, *words, stdin=PASSWORD)


def refused(result: Result, code: int, *texts: str) -> str:
    """Expect an error with texts in its line; return its hint."""
    assert (result.code, result.stdout) == (code, ""), result
    line, hint = result.stderr.splitlines()
    assert line.startswith("error: ")
    for text in texts:
        assert text in line
    return hint.removeprefix("hint: ")


def alembic(project: Project, *words: str) -> None:
    """Run ``alembic`` in the project directory."""
    done = forked.run(
        words, script=ALEMBIC, directory=project.directory, env=process_environment({})
    )
    assert done.returncode == 0, done


def follow(project: Project, hint: str) -> None:
    """Run the commands that a hint quotes, in order."""
    commands = re.findall(r"'((?:clarinet|alembic) [^']+)'", hint)
    assert commands, hint
    for program, *words in map(str.split, commands):
        if program == "alembic":
            alembic(project, *words)
            continue
        words += ["--password-stdin"] if words == ["db", "init"] else []
        result = project.run(*words, stdin=PASSWORD)
        assert result.code == 0, result


def unversioned(change: str) -> Callable[[Project], None]:
    """Return what takes the revision away and changes the tables."""

    def prepare(project: Project) -> None:
        project.rows("DROP TABLE alembic_version")
        if change:
            project.rows(change)

    return prepare


class TestWords:
    """What differs, and how it ends."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                "ALTER TABLE access_token DROP COLUMN ip_address",
                "missing column access_token.ip_address",
            ),
            ("DROP TABLE access_token", "missing table access_token"),
            (
                "DROP INDEX ix_access_token_token",
                "missing index ix_access_token_token on access_token",
            ),
            (
                "CREATE INDEX ix_other ON access_token (user_agent)",
                "extra index ix_other on access_token",
            ),
            ('ALTER TABLE "user" ADD COLUMN shoe_size integer', "extra column user.shoe_size"),
        ],
    )
    @pytest.mark.parametrize("line", ["db init", "migrate upgrade", "migrate upgrade --dry-run"])
    def test_tables_without_a_revision(
        self, project: Project, change: str, words: str, line: str
    ) -> None:
        """A conflict that names table and column; following its hint ends the trouble."""
        unversioned(change)(project)
        before = snapshot(project)
        stdin = ("--password-stdin",) if line == "db init" else ()
        hint = refused(project.run(*line.split(), *stdin, stdin=PASSWORD), 4, words)
        assert snapshot(project) == before

        follow(project, hint)

        assert init(project).code == 0
        status = project.json("migrate", "status", "--check")
        assert (status["up_to_date"], status["differences"]) == (True, [])

    def test_clarinet_tables_without_a_revision(self, project: Project) -> None:
        """A conflict, and 'db init' takes them over."""
        unversioned("")(project)
        follow(project, refused(project.run("migrate", "upgrade"), 4, "no revision"))
        assert versions(project) == [BASE_REVISION]
        assert project.run("migrate", "upgrade").code == 0

    @pytest.mark.parametrize(
        ("change", "words", "line"),
        [
            (
                "ALTER TABLE access_token DROP COLUMN ip_address",
                "no column ip_address",
                "session list",
            ),
            ('ALTER TABLE "user" DROP COLUMN is_verified', "is_verified", "admin list"),
            ("DROP TABLE access_token", "the table access_token is missing", "session list"),
        ],
    )
    def test_at_head(self, project: Project, change: str, words: str, line: str) -> None:
        """Each hint leads on to the next, and the last one to a schema that is whole."""
        project.rows("DELETE FROM userroleslink")
        project.rows('DELETE FROM "user"')
        project.rows(change)
        refused(project.run(*line.split(), "-o", "json"), 1, words)
        result = project.run("migrate", "status", "--check")
        assert result.code == 6
        assert "missing " in result.stdout
        assert init(project).code in (1, 4)

        follow(project, result.stderr)

        assert init(project).code == 0
        assert project.run("migrate", "status", "--check").code == 0
        assert project.run(*line.split()).code == 0

    def test_init_at_head(self, project: Project) -> None:
        """'db init' does not call a schema unchanged that lacks a column or a table."""
        project.rows("ALTER TABLE access_token DROP COLUMN ip_address")
        texts = (BASE_REVISION, "missing column access_token.ip_address")
        for dry_run in ([], ["--dry-run"]):
            hint = refused(init(project, *dry_run), 4, *texts)
        follow(project, hint)
        assert init(project).code == 0

    def test_type_and_null(self, project: Project) -> None:
        """Another type is named with the one expected; a column that may be null as that."""
        project.rows("DROP TABLE access_token")
        project.rows(
            "CREATE TABLE access_token (token varchar PRIMARY KEY, user_id integer NOT NULL,"
            " created_at timestamp NOT NULL, expires_at timestamp NOT NULL,"
            " last_accessed timestamp, user_agent varchar(512), ip_address varchar(45))"
        )
        found = asyncio.run(migration_status(project.settings, compare=True)).differences
        assert "type of access_token.user_id is INTEGER, expected UUID" in found
        assert "column access_token.last_accessed may be null" in found
        assert "missing foreign key of access_token.user_id" in found

    @pytest.mark.parametrize(
        ("upgrade", "words"),
        [
            ('op.create_table("userrole", sa.Column("x", sa.Integer()))', "userrole"),
            ('op.add_column("userrole", sa.Column("name", sa.String(9)))', "name"),
        ],
    )
    def test_revision_that_makes_what_exists(
        self, project: Project, upgrade: str, words: str
    ) -> None:
        """A table or column that is there already is a conflict that names it."""
        init_environment(project.directory, force=False)
        write_revision(project.directory, SECOND, upgrade=upgrade)
        before = snapshot(project)
        refused(project.run("migrate", "upgrade"), 4, words, "already exists")
        assert snapshot(project) == before


class TestDependents:
    """Other tables that refer to the Clarinet tables."""

    @pytest.fixture
    def pointed_at(self, project: Project) -> Project:
        """A database with a table of another program that refers to an account."""
        uuid = "uuid" if project.server else "char(32)"
        project.rows(CHILD.format(uuid=uuid))
        project.rows('INSERT INTO record SELECT 1, id FROM "user"')
        return project

    @pytest.mark.parametrize("words", [["base", "--yes"], ["-1", "--yes"], ["base", "--dry-run"]])
    def test_downgrade_is_refused(self, pointed_at: Project, words: list[str]) -> None:
        """A conflict that names the table; nothing changed, and no key points at nothing."""
        before = snapshot(pointed_at)
        hint = refused(pointed_at.run("migrate", "downgrade", *words), 4, "record (user)")
        assert "first" in hint
        assert snapshot(pointed_at) == before
        if pointed_at.server is None:
            assert pointed_at.rows("PRAGMA foreign_key_check") == []
        pointed_at.rows("DROP TABLE record")
        assert pointed_at.run("migrate", "downgrade", *words).code == 0

    @pytest.mark.parametrize(
        "drop",
        [
            'op.drop_table("second")',
            'op.execute("DROP TABLE second")',
            "op.drop_table('sec' 'ond')",
        ],
    )
    @pytest.mark.parametrize("direction", ["downgrade", "upgrade"])
    def test_any_table_of_any_revision(self, project: Project, drop: str, direction: str) -> None:
        """So with every table, up and down, also where a revision drops it by SQL of its own."""
        add_two_revisions(project)
        third = {"upgrade": drop} if direction == "upgrade" else {"downgrade": drop}
        write_revision(project.directory, THIRD, down_revision=SECOND, **third)
        before_drop = SECOND if direction == "upgrade" else THIRD
        assert project.run("migrate", "upgrade", before_drop).code == 0
        project.rows("CREATE TABLE child (id integer REFERENCES second (id))")
        before = snapshot(project)
        words = ["upgrade"] if direction == "upgrade" else ["downgrade", SECOND, "--yes"]
        refused(project.run("migrate", *words), 4)
        assert snapshot(project) == before

    @pytest.mark.parametrize("words", [["base", "--yes"], ["base", "--dry-run"]])
    @pytest.mark.parametrize(
        "query",
        [
            'SELECT email FROM "user"',
            'SELECT count(*) AS n FROM userrole JOIN "user" ON email = name',
            'SELECT 1 AS n FROM record WHERE EXISTS (SELECT 1 FROM "user" WHERE id = record.x)',
        ],
    )
    def test_views_count_too(self, project: Project, query: str, words: list[str]) -> None:
        """A view of a dropped table is named before anything is done, and still works."""
        project.rows(f"CREATE TABLE record (x {'uuid' if project.server else 'char(32)'})")
        project.rows(f"CREATE VIEW people AS {query}")
        project.rows('CREATE VIEW other AS SELECT x AS "user" FROM record')
        before = snapshot(project)
        assert "view other" not in refused(
            project.run("migrate", "downgrade", *words), 4, "view people (user)"
        )
        assert snapshot(project) == before
        project.rows("SELECT * FROM people")
        project.rows("DROP VIEW people")
        assert project.run("migrate", "downgrade", *words).code == 0

    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_table_in_another_schema(self, project: Project) -> None:
        """A table of another schema counts too, and is named with it."""
        project.rows("CREATE SCHEMA other")
        project.rows('CREATE TABLE other.record (user_id uuid REFERENCES public."user" (id))')
        refused(project.run("migrate", "downgrade", "base", "--yes"), 4, "other.record (user)")


def server_environment(project: Project, name: Optional[str] = None) -> None:
    """Give the project directory the Alembic environment of a server."""
    scripts = project.directory / "alembic"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text("raise SystemExit\n")
    (scripts / "versions" / "1_first.py").write_text('revision = "1"\ndown_revision = None\n')
    if name == "alembic.ini":
        (project.directory / name).write_text("[alembic]\nscript_location = alembic\n")
    elif name == "pyproject.toml":
        (project.directory / name).write_text('[tool.alembic]\nscript_location = "alembic"\n')
    elif name == "a package":
        (project.directory / "alembic.ini").write_text(
            "[alembic]\nscript_location = app:migrations\n"
        )


class TestOrder:
    """A project whose server has migrations of its own."""

    @pytest.fixture(params=[None, "alembic.ini", "pyproject.toml", "a package"])
    def beside(self, empty_project: Project, request: pytest.FixtureRequest) -> Project:
        """Such a project, without a database."""
        server_environment(empty_project, request.param)
        return empty_project

    @pytest.mark.parametrize("exists", [False, True])
    @pytest.mark.parametrize("words", [[], ["--dry-run"]])
    def test_empty_database_is_left_to_it(
        self, beside: Project, exists: bool, words: list[str]
    ) -> None:
        """Refused with the order, before a password is asked for; nothing is made."""
        if exists:
            create_empty_database(beside)
        before = set(files(beside.directory))
        result = beside.run("db", "init", *words)
        hint = refused(result, 5, "another program", str(beside.directory))
        assert hint.index("alembic upgrade head") < hint.index("clarinet db init")
        assert "--schema-anyway" in hint
        assert set(files(beside.directory)) == before
        assert not exists or table_names(beside) == set()

    def test_upgrade_is_refused_too(self, beside: Project) -> None:
        """'migrate upgrade' ends with 7 without a database, and with 5 on an empty one."""
        for words in ([], ["--dry-run"]):
            assert beside.run("migrate", "upgrade", *words).code == 7
        create_empty_database(beside)
        for words in ([], ["--dry-run"]):
            refused(beside.run("migrate", "upgrade", *words), 5, "another program")
        assert table_names(beside) == set()
        assert beside.run("migrate", "upgrade", "--schema-anyway").code == 0
        assert versions(beside) == [BASE_REVISION]

    def test_schema_anyway_creates_it(self, beside: Project) -> None:
        """With --schema-anyway the schema is created, and is Clarinet's from then on."""
        assert init(beside, "--schema-anyway", "--dry-run").code == 0
        assert init(beside, "--schema-anyway").code == 0
        assert versions(beside) == [BASE_REVISION]
        assert init(beside).code == 0
        assert beside.run("migrate", "upgrade").code == 0

    def test_migrated_database_is_filled(self, server_project: Project) -> None:
        """What the server's migrations made gets its roles and its superuser."""
        server_environment(server_project, "alembic.ini")
        server_project.rows("DELETE FROM userrole WHERE name = 'expert'")
        before = schema(server_project)
        result = init(server_project)
        assert result.code == 0, result
        assert schema(server_project) == before
        assert server_project.rows("SELECT name FROM userrole WHERE name = 'expert'")

    def test_four_tables_without_a_revision_are_not_adopted(self, project: Project) -> None:
        """Clarinet's revision would keep the server's migrations from running."""
        server_environment(project, "alembic.ini")
        project.rows("DROP TABLE alembic_version")
        assert init(project).code == 0
        assert table_names(project) == set(TABLE_NAMES)

    @pytest.mark.parametrize("words", [["create", "-m", "x"], ["init"], ["init", "--force"]])
    def test_neither_create_nor_init_sends_to_the_other(
        self, beside: Project, words: list[str]
    ) -> None:
        """Both name the environment's owner, and its own commands."""
        create_empty_database(beside)
        before = files(beside.directory)
        hint = refused(beside.run("migrate", *words), 5, "another program")
        assert "alembic revision" in hint
        assert "clarinet" not in hint
        assert files(beside.directory) == before


class TestNoDatabase:
    """Only 'db init' creates a database, and it names it."""

    @pytest.mark.parametrize(
        "line",
        [
            "migrate upgrade",
            "migrate upgrade --dry-run",
            "migrate downgrade base --yes",
            "migrate status",
            "migrate history",
            "db status",
            "session stats",
            "session cleanup",
            "session revoke-all --yes",
            "admin list",
            "admin create --email a@clarinet.example --generate-password",
            "admin ensure --generate-password",
        ],
    )
    def test_is_made_by_nothing_else(self, empty_project: Project, line: str) -> None:
        """7, and not even a lock file is left."""
        result = empty_project.run(*line.split())
        assert result.code == 7, result
        assert "clarinet db init" in result.stderr
        assert set(files(empty_project.directory)) == {"settings.toml"}

    def test_init_names_it(self, empty_project: Project) -> None:
        """The first step has the URL, without the password."""
        step = empty_project.json(*INIT, stdin=PASSWORD)[0]
        assert (step["step"], step["result"]) == ("database", "created")
        assert step["detail"] == empty_project.json("db", "status")["url"]

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_without_settings_the_parents_are_looked_at(self, project: Project) -> None:
        """In a directory below a project the hint names that project, and its command works."""
        below = Project(project.directory / "a" / "b", "sqlite", "clarinet")
        below.directory.mkdir(parents=True)
        hint = refused(below.run("db", "status"), 7, f"no settings.toml in {below.directory}")
        assert f"clarinet -C {project.directory} " in hint
        (project.directory / "settings.toml").unlink()
        hint = refused(below.run("migrate", "upgrade"), 7, "no settings.toml")
        assert f"clarinet -C {project.directory} " in hint
        project.file.unlink()
        hint = refused(below.run("db", "status"), 7, "no settings.toml")
        assert str(project.directory) not in hint


class TestReadRevisions:
    """Revisions read as text."""

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("revision = 'x'\n", "assigns no 'down_revision'"),
            ("print()\n", "assigns no 'revision'"),
            ("revision = 'a' + 'b'\ndown_revision = None\n", "'revision' is not a plain value"),
            ("revision = 7\ndown_revision = None\n", "'revision' is not a plain value"),
            ("revision = None\ndown_revision = None\n", "'revision' is not a string"),
            ("revision = (\n", "is not Python"),
            ("revision = " + "-" * 100_000 + "1\n", "is not Python"),
            ("#" * 2**21, "bytes"),
        ],
    )
    def test_file_that_does_not_say_which_it_is(
        self, project: Project, text: str, reason: str
    ) -> None:
        """One line that names file and reason, and no traceback."""
        init_environment(project.directory, force=False)
        (project.directory / "alembic" / "versions" / "odd.py").write_text(text)
        result = project.run("migrate", "history")
        assert result.code == 1
        assert "odd.py" in result.stderr
        assert reason in result.stderr

    def test_several_parents_labels_and_annotations(self, project: Project) -> None:
        """A merge of two branches, with the forms that Alembic's own template writes."""
        add_two_revisions(project)
        directory = project.directory / "alembic" / "versions"
        (directory / "d_branch.py").write_text(
            f'"""Branch."""\nrevision: str = "d4"\ndown_revision: str | None = "{SECOND}"\n'
            'branch_labels = ("side",)\ndepends_on = None\n'
        )
        (directory / "e_merge.py").write_text(
            f'"""Merge."""\nrevision = "e5"\ndown_revision = ("{THIRD}", "d4")\n'
        )
        rows = {row["revision"]: row for row in project.json("migrate", "history")}
        assert rows["e5"]["down_revision"] == f"{THIRD}, d4"
        assert [name for name, row in rows.items() if row["head"]] == ["e5"]
        plan = project.json("migrate", "upgrade", "d4", "--dry-run")
        assert plan["revisions"] == [SECOND, "d4"]

    def test_version_locations_start_at_the_project(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Further directories of revisions are read, and run, wherever the command is run."""
        init_environment(project.directory, force=False)
        more = project.directory / "more"
        more.mkdir()
        write_revision(project.directory, SECOND).rename(more / "second.py")
        ini = project.directory / "alembic.ini"
        ini.write_text(ini.read_text() + "version_locations = alembic/versions:more\n")
        monkeypatch.chdir("/")
        assert project.json("migrate", "status")["heads"] == [SECOND]
        assert project.run("migrate", "upgrade").code == 0
        assert versions(project) == [SECOND]

    def test_pipe_among_the_revisions(self, project: Project) -> None:
        """A pipe named like a revision is an error, not a wait without end."""
        init_environment(project.directory, force=False)
        os.mkfifo(project.directory / "alembic" / "versions" / "pipe.py")
        assert project.run("migrate", "status").code == 1

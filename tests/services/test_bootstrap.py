"""Initialising a database in any state: ``db init`` and its steps."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional
from uuid import UUID

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event
from sqlalchemy.pool import Pool

from clarinet_cli.database.session import database_exists
from clarinet_cli.exceptions import (
    ClarinetError,
    ConfigurationError,
    InvalidInputError,
    UnreachableError,
)
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.results import Step
from clarinet_cli.services.accounts.passwords import NewPassword
from clarinet_cli.services.bootstrap import DEFAULT_ROLES, ensure_database, required_roles
from clarinet_cli.services.schema.scripts import BASE_REVISION
from clarinet_cli.utils.bootstrap import create_admin_user
from tests.migrations.helpers import (
    SECOND,
    add_table_revision,
    contents,
    create_empty_database,
    drop_database,
    files,
    schema,
    snapshot,
    table_names,
    versions,
)
from tests.operations import ensure_roles, initialise_database, superuser_is_missing
from tests.support import PASSWORD, Project

STEPS = ["database", "schema", "roles", "superuser"]
ADMIN = "admin@clarinet.ru"
NEW_PASSWORD = NewPassword("another battery staple")


@dataclass(frozen=True)
class State:
    """A state that a database can be in, and what making it ready does about it."""

    prepare: Callable[[Project], object]
    results: tuple[str, str, str, str]
    head: str = BASE_REVISION
    roles: tuple[str, ...] = DEFAULT_ROLES


def remove_admin(project: Project) -> None:
    """Delete the only account without the tool."""
    project.rows("DELETE FROM userroleslink")
    project.rows('DELETE FROM "user"')


def restart_empty(project: Project) -> None:
    """Put an empty database in the place of the ready one."""
    drop_database(project)
    create_empty_database(project)


STATES = {
    "no database": State(drop_database, ("created",) * 4),
    "empty database": State(restart_empty, ("unchanged", "created", "created", "created")),
    "ready database": State(lambda _: None, ("unchanged",) * 4),
    "schema behind": State(
        lambda project: add_table_revision(project, SECOND, "second"),
        ("unchanged", "updated", "unchanged", "unchanged"),
        head=SECOND,
    ),
    "never migrated": State(
        lambda project: project.rows("DROP TABLE alembic_version"),
        ("unchanged", "updated", "unchanged", "unchanged"),
    ),
    "role missing": State(
        lambda project: project.rows("DELETE FROM userrole WHERE name = 'expert'"),
        ("unchanged", "unchanged", "created", "unchanged"),
    ),
    "superuser missing": State(remove_admin, ("unchanged", "unchanged", "unchanged", "created")),
    "superuser inactive": State(
        lambda project: project.rows('UPDATE "user" SET is_active = false'),
        ("unchanged", "unchanged", "unchanged", "updated"),
    ),
    "superuser demoted": State(
        lambda project: project.rows('UPDATE "user" SET is_superuser = false'),
        ("unchanged", "unchanged", "unchanged", "updated"),
    ),
    "roles of the settings": State(
        lambda project: project.write_settings(
            'extra_roles = ["reader", "admin"]\n'
            '[role_capabilities]\nreviewer = ["x"]\nreader = []\n'
        ),
        ("unchanged", "unchanged", "created", "unchanged"),
        roles=(*DEFAULT_ROLES, "reader", "reviewer"),
    ),
}


def run(
    project: Project, password: Optional[NewPassword] = NEW_PASSWORD, *, dry_run: bool = False
) -> list[Step]:
    """Make the database ready."""
    return asyncio.run(initialise_database(project.settings, password, dry_run=dry_run))


def results(steps: list[Step]) -> list[str]:
    """Return what happened in each step."""
    assert [step.step for step in steps] == STEPS
    return [step.result for step in steps]


def in_a_dry_run(result: str) -> str:
    """Return the word that announces a result."""
    return result if result == "unchanged" else f"would_{result.removesuffix('d')}"


def everything(project: Project) -> object:
    """Return the whole database, and the names in the project directory."""
    names = {name for name in files(project.directory) if not name.endswith(".lock")}
    exists = project.file.exists() if project.server is None else database_on_server(project)
    return names, snapshot(project) if exists else None


def database_on_server(project: Project) -> bool:
    """Return whether the PostgreSQL server has the project's database."""
    assert project.server is not None
    query = "SELECT 1 FROM pg_database WHERE datname = $1"
    return bool(project.server.rows("postgres", query, project.database))


def superusers(project: Project) -> list[str]:
    """Return the e-mails of the active superusers."""
    query = 'SELECT email FROM "user" WHERE is_superuser AND is_active ORDER BY email'
    return [row[0] for row in project.rows(query)]


def roles_in(project: Project) -> set[str]:
    """Return the names of the roles."""
    return {row[0] for row in project.rows("SELECT name FROM userrole")}


def password_is(project: Project, email: str, password: str) -> bool:
    """Return whether the server would let this account in with this password."""
    ((stored,),) = project.rows('SELECT hashed_password FROM "user" WHERE email = ?', email)
    return PasswordHash((Argon2Hasher(),)).verify(password, stored)


class TestEveryState:
    """From each state to a ready database."""

    @pytest.fixture(params=STATES.values(), ids=list(STATES))
    def state(self, request: pytest.FixtureRequest) -> State:
        """Each state in turn."""
        state: State = request.param
        return state

    def test_a_dry_run_agrees_and_a_second_run_changes_nothing(
        self, project: Project, state: State
    ) -> None:
        """A dry run lists the steps and writes nothing; a run takes them; a second one none."""
        state.prepare(project)
        before = everything(project)
        planned = results(run(project, None, dry_run=True))
        assert everything(project) == before

        done = results(run(project))
        assert done == list(state.results)
        assert planned == [in_a_dry_run(result) for result in done]
        assert versions(project) == [state.head]
        assert {*TABLE_NAMES, "alembic_version"} <= table_names(project)
        assert roles_in(project) == set(state.roles)
        assert superusers(project) == [ADMIN]
        ((user,),) = project.rows('SELECT id FROM "user"')
        links = project.rows("SELECT role_name FROM userroleslink WHERE user_id = ?", as_uuid(user))
        assert links == [("admin",)]
        changed = done[-1] != "unchanged"
        assert password_is(project, ADMIN, NEW_PASSWORD.text if changed else PASSWORD)

        ready = everything(project)
        assert results(run(project)) == ["unchanged"] * 4
        assert results(run(project, dry_run=True)) == ["unchanged"] * 4
        assert everything(project) == ready


def as_uuid(value: object) -> UUID:
    """Return an id as either backend stores it."""
    return value if isinstance(value, UUID) else UUID(str(value))


class TestSuperuser:
    """Who the first superuser is, and when there is none to be made."""

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_auto_create_off(self, empty_project: Project, dry_run: bool) -> None:
        """With admin_auto_create off everything but the superuser is made, without a password."""
        empty_project.write_settings("admin_auto_create = false\n")
        steps = run(empty_project, None, dry_run=dry_run)
        created = in_a_dry_run("created") if dry_run else "created"
        assert results(steps) == [created] * 3 + ["unchanged"]
        assert "admin_auto_create" in steps[-1].detail
        if dry_run:
            assert not asyncio.run(database_exists(empty_project.settings))
            return
        assert empty_project.count("user") == 0
        assert roles_in(empty_project) == set(DEFAULT_ROLES)

    def test_auto_create_off_needs_no_password(self, empty_project: Project) -> None:
        """No prompt for a password if no account is created."""
        empty_project.write_settings("admin_auto_create = false\n")
        result = empty_project.run("db", "init")
        assert (result.code, result.stderr) == (0, "")
        assert empty_project.count("user") == 0

    def test_demoted_account_keeps_its_password_without_a_new_one(self, project: Project) -> None:
        """Made a superuser again with no password given: same id, same password, same sessions."""
        ((user,),) = project.rows('SELECT id FROM "user"')
        token = project.add_session(as_uuid(user))
        project.rows('UPDATE "user" SET is_superuser = false')

        steps = run(project, None)

        assert results(steps)[-1] == "updated"
        assert project.rows('SELECT id FROM "user"') == [(user,)]
        assert superusers(project) == [ADMIN]
        assert password_is(project, ADMIN, PASSWORD)
        assert project.tokens() == {token}

    def test_new_password_of_a_demoted_account_ends_its_sessions(self, project: Project) -> None:
        """With a new password its sessions end in the same transaction."""
        ((user,),) = project.rows('SELECT id FROM "user"')
        project.add_session(as_uuid(user))
        other = project.add_session(project.add_user("ada@clarinet.example"))
        project.rows('UPDATE "user" SET is_superuser = false WHERE email = ?', ADMIN)
        run(project)
        assert project.tokens() == {other}

    def test_other_superuser_is_enough(self, project: Project) -> None:
        """Any active superuser will do: the one of the settings is not added."""
        project.rows('UPDATE "user" SET email = ?', "somebody@clarinet.example")
        before = everything(project)
        assert results(run(project)) == ["unchanged"] * 4
        assert everything(project) == before

    def test_no_password_for_a_new_account(self, empty_project: Project) -> None:
        """Without a password no account is made; running again with one finishes the work."""
        with pytest.raises(InvalidInputError):
            run(empty_project, None)
        assert empty_project.count("user") == 0
        assert results(run(empty_project)) == ["unchanged"] * 3 + ["created"]
        assert superusers(empty_project) == [ADMIN]

    def test_weak_password(self, empty_project: Project) -> None:
        """A password that breaks the policy is refused before anything is created."""
        with pytest.raises(InvalidInputError):
            run(empty_project, NewPassword("admin123"))
        assert not asyncio.run(database_exists(empty_project.settings))

    def test_one_connection_serves_all_steps(self, empty_project: Project) -> None:
        """Only the creation on a server, the migration and its lock there have their own."""
        opened: list[object] = []

        def note(connection: object, _: object) -> None:
            opened.append(connection)

        numbers = []
        event.listen(Pool, "connect", note)
        for _ in range(2):
            run(empty_project)
            numbers.append(len(opened))
            opened.clear()
        event.remove(Pool, "connect", note)
        assert numbers == [2 if empty_project.server is None else 4, 1]

    def test_generated_password_is_reported_once(self, empty_project: Project) -> None:
        """A generated password is in the result of the step that used it, and never again."""
        password = NewPassword("Generated-Password-42", generated=True)
        first, second = run(empty_project, password), run(empty_project, password)
        assert [step.password for step in first] == [None, None, None, password.text]
        assert [step.password for step in second] == [None] * 4
        assert password.text not in repr(first)
        assert password_is(empty_project, ADMIN, password.text)

    @pytest.mark.parametrize(
        ("settings", "email"),
        [
            ('admin_username = "root"\n', "admin@clarinet.ru"),
            ('admin_username = "ada@clarinet.example"\n', "ada@clarinet.example"),
            (
                'admin_email = "eve@clarinet.example"\nadmin_username = "x"\n',
                "eve@clarinet.example",
            ),
        ],
    )
    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_settings_name_the_account(
        self, empty_project: Project, settings: str, email: str
    ) -> None:
        """admin_email, else admin_username with the server's domain."""
        empty_project.write_settings(settings)
        assert run(empty_project)[-1].detail == email
        assert superusers(empty_project) == [email]

    def test_create_admin_user_twice(self, project: Project) -> None:
        """The entry point for other programs: created once, then unchanged."""
        remove_admin(project)
        changes = [asyncio.run(create_admin_user(project.settings, NEW_PASSWORD)) for _ in range(2)]
        assert [change.result for change in changes] == ["created", "unchanged"]
        assert changes[0].id == changes[1].id
        assert changes[0].roles == ("admin",)
        assert superusers(project) == [ADMIN]

    def test_create_admin_user_dry_run(self, project: Project) -> None:
        """A dry run announces the account and makes none."""
        remove_admin(project)
        before = everything(project)
        change = asyncio.run(create_admin_user(project.settings, NEW_PASSWORD, dry_run=True))
        assert (change.result, change.email, change.id) == ("would_create", ADMIN, None)
        assert everything(project) == before

    def test_whether_a_password_will_be_needed(self, project: Project) -> None:
        """Only without an active superuser, and only when one is to be made."""

        def needed() -> bool:
            return asyncio.run(superuser_is_missing(project.settings))

        assert not needed()
        project.rows('UPDATE "user" SET is_active = false')
        assert needed()
        project.write_settings("admin_auto_create = false\n")
        assert not needed()
        project.write_settings()
        restart_empty(project)
        assert needed()
        drop_database(project)
        assert needed()
        assert not asyncio.run(database_exists(project.settings))


class TestRoles:
    """The roles of the server and of the settings."""

    def test_names_without_repetition(self, empty_project: Project) -> None:
        """The server's own first, then extra_roles, then role_capabilities, each once."""
        empty_project.write_settings(
            'extra_roles = ["reader", "admin", "reader"]\n'
            "[role_capabilities]\nreader = []\nz = []\n"
        )
        assert required_roles(empty_project.settings) == [*DEFAULT_ROLES, "reader", "z"]

    def test_only_missing_ones_are_added(self, project: Project) -> None:
        """What is missing is named; roles of other origin and their members stay."""
        project.rows("INSERT INTO userrole (name) VALUES ('nurse')")
        project.rows("DELETE FROM userrole WHERE name IN ('auto', 'doctor')")
        before = contents(project)["userroleslink"]
        planned = asyncio.run(ensure_roles(project.settings, dry_run=True))
        assert planned == Step("roles", "would_create", "doctor, auto")
        assert roles_in(project) == {*DEFAULT_ROLES, "nurse"} - {"auto", "doctor"}
        step = asyncio.run(ensure_roles(project.settings))
        assert step == Step("roles", "created", "doctor, auto")
        assert roles_in(project) == {*DEFAULT_ROLES, "nurse"}
        assert contents(project)["userroleslink"] == before

    @pytest.mark.parametrize("name", ["", "  ", "x" * 51])
    def test_bad_name(self, project: Project, name: str) -> None:
        """A name that is empty or too long is a configuration error, and no role is added."""
        project.rows("DELETE FROM userrole WHERE name = 'auto'")
        project.write_settings(f'extra_roles = ["reader", "{name}"]\n')
        before = everything(project)
        for dry_run in (True, False):
            with pytest.raises(ConfigurationError, match="extra_roles"):
                run(project, dry_run=dry_run)
        assert everything(project) == before

    def test_bad_name_is_seen_first(self, empty_project: Project) -> None:
        """A configuration that cannot be used is refused before a database is made."""
        empty_project.write_settings('[role_capabilities]\n"" = []\n')
        before = everything(empty_project)
        for dry_run in (True, False):
            with pytest.raises(ConfigurationError, match="role_capabilities"):
                run(empty_project, dry_run=dry_run)
        assert everything(empty_project) == before

    def test_longest_name(self, project: Project) -> None:
        """Fifty characters fit, of any alphabet."""
        project.write_settings(f'extra_roles = ["{"ё" * 50}"]\n')
        assert results(run(project))[2] == "created"
        assert "ё" * 50 in roles_in(project)


class TestDatabase:
    """The file, or the database on the server."""

    def test_created_once(self, empty_project: Project) -> None:
        """Announced, created, and then there."""
        settings = empty_project.settings
        planned = asyncio.run(ensure_database(settings, dry_run=True))
        assert not asyncio.run(database_exists(settings))
        steps = [asyncio.run(ensure_database(settings)) for _ in range(2)]
        assert [planned.result, *(step.result for step in steps)] == [
            "would_create",
            "created",
            "unchanged",
        ]
        assert asyncio.run(database_exists(settings))
        assert table_names(empty_project) == set()

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_sqlite_file_is_private(self, empty_project: Project) -> None:
        """Other users cannot read the file with hashes and live tokens."""
        before = os.umask(0)
        try:
            run(empty_project)
        finally:
            os.umask(before)
        assert superusers(empty_project) == [ADMIN]
        for file in empty_project.directory.glob("clarinet.db*"):
            assert file.stat().st_mode & 0o007 == 0, file

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_missing_directory(self, empty_project: Project) -> None:
        """A directory that does not exist is one clear error, and is not made."""
        (empty_project.directory / "settings.toml").write_text('database_name = "no/where"\n')
        with pytest.raises(ClarinetError, match="no/where"):
            run(empty_project)
        assert [path.name for path in empty_project.directory.iterdir()] == ["settings.toml"]

    @pytest.mark.parametrize("backend", ["sqlite"])
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_file_that_is_no_database(self, empty_project: Project, dry_run: bool) -> None:
        """Another kind of file is refused and left as it is."""
        content = b"this is a letter to my mother, not a database\n" * 100
        empty_project.file.write_bytes(content)
        with pytest.raises(UnreachableError, match="not a SQLite database"):
            run(empty_project, dry_run=dry_run)
        assert empty_project.file.read_bytes() == content

    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_name_with_quotes(self, empty_project: Project) -> None:
        """The name of a PostgreSQL database may have any characters."""
        assert empty_project.server is not None
        empty_project.database += "; drop 'x' %s"
        empty_project.write_settings()
        try:
            assert results(run(empty_project)) == ["created"] * 4
            assert superusers(empty_project) == [ADMIN]
            assert results(run(empty_project)) == ["unchanged"] * 4
        finally:
            empty_project.server.drop(empty_project.database)


class TestServersDatabase:
    """A database that a real server made and migrates."""

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_nothing_is_missing(self, server_project: Project, dry_run: bool) -> None:
        """With roles and a superuser there, nothing at all changes."""
        before = everything(server_project)
        steps = run(server_project, dry_run=dry_run)
        assert results(steps) == ["unchanged"] * 4
        assert versions(server_project)[0] in steps[1].detail
        assert everything(server_project) == before

    def test_missing_role_and_demoted_superuser(self, server_project: Project) -> None:
        """One role and one flag are put back; every other row and the schema are as before."""
        as_delivered = snapshot(server_project)
        (admin,) = superusers(server_project)
        server_project.write_settings(f'admin_email = "{admin}"\n')
        server_project.rows("DELETE FROM userrole WHERE name = 'expert'")
        server_project.rows('UPDATE "user" SET is_superuser = false WHERE is_superuser')
        before = everything(server_project)
        planned = run(server_project, None, dry_run=True)
        assert everything(server_project) == before

        done = run(server_project, None)

        assert results(planned) == ["unchanged", "unchanged", "would_create", "would_update"]
        assert results(done) == ["unchanged", "unchanged", "created", "updated"]
        assert snapshot(server_project) == as_delivered
        assert results(run(server_project, None)) == ["unchanged"] * 4

    def test_missing_superuser_gets_an_account(self, server_project: Project) -> None:
        """No superuser: the one of the settings is added; all rows that were there stay."""
        server_project.write_settings('admin_email = "root@clarinet.example"\n')
        server_project.rows('UPDATE "user" SET is_superuser = false')
        before, tables = contents(server_project), schema(server_project)

        assert results(run(server_project)) == ["unchanged"] * 3 + ["created"]

        after = contents(server_project)
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {"user", "userroleslink"}
        for name in changed:
            assert set(before[name]) < set(after[name])
            assert len(after[name]) == len(before[name]) + 1
        assert schema(server_project) == tables
        assert superusers(server_project) == ["root@clarinet.example"]

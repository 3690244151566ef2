"""The roles of other applications, and accounts that are marked as deleted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import tomlkit

from clarinet_cli.exceptions import ExitCode
from tests.mapping.applications import ADA, BOB, EVE, HASH, Application, application, populated
from tests.postgres import PostgresServer
from tests.support import PASSWORD

SCHEMAS = ["plural-int-pg", "official-pg", "official-sqlite", "schema-qualified-pg"]


def add_to_mapping(shop: Application, *lines: str) -> None:
    """Add keys to the mapping."""
    file = shop.project.directory / "settings.toml"
    text = "\n".join(("[mapping]", *lines))
    file.write_text(file.read_text().replace("[mapping]", text, 1))


@pytest.fixture
def jwt(tmp_path: Path, postgres: PostgresServer) -> Iterator[Application]:
    """An application with JWT and a link table of roles, two of which exist."""
    name = "composite-pk-jwt-pg"
    with application(name, tmp_path / "jwt", postgres) as project:
        project.environment["CLARINET_SESSION_STRATEGY"] = "jwt"
        found = populated(project, name)
        project.rows("INSERT INTO user_roles (name) VALUES ('editor'), ('admin')")
        yield found


def links(jwt: Application) -> set[tuple[Any, ...]]:
    """Return address and role of each link."""
    return set(
        jwt.project.rows(
            "SELECT u.email, r.name FROM user_role_mapping m JOIN users u ON u.id = m.user_id"
            " JOIN user_roles r ON r.id = m.role_id"
        )
    )


def test_roles_of_a_link_table_are_granted_and_revoked(jwt: Application) -> None:
    """The rows of the link table are those that were asked for."""
    run = jwt.project.json
    assert run("admin", "grant-role", BOB, "editor", "--dry-run")["result"] == "would_update"
    assert links(jwt) == set()
    granted = run("admin", "grant-role", BOB, "editor")
    assert (granted["result"], granted["roles"]) == ("updated", ["editor"])
    assert run("admin", "grant-role", BOB, "editor")["result"] == "unchanged"
    assert run("admin", "grant-role", BOB, "admin")["roles"] == ["admin", "editor"]
    assert links(jwt) == {(BOB, "editor"), (BOB, "admin")}
    rows = {row["name"]: row["members"] for row in run("admin", "roles")}
    assert rows == {"admin": 1, "editor": 1}
    assert run("admin", "revoke-role", BOB, "editor")["roles"] == ["admin"]
    assert run("admin", "revoke-role", BOB, "editor")["result"] == "unchanged"
    assert links(jwt) == {(BOB, "admin")}
    missing = jwt.project.run("admin", "grant-role", BOB, "auditor")
    assert (missing.code, links(jwt)) == (ExitCode.NOT_FOUND, {(BOB, "admin")})
    assert "editor" in missing.stderr


def test_a_superuser_of_an_application_needs_no_role(jwt: Application) -> None:
    """Promoting and demoting change only the flag, also if there is a role named admin."""
    assert jwt.project.json("admin", "promote", BOB)["roles"] == []
    assert jwt.project.json("admin", "grant-role", BOB, "admin")["roles"] == ["admin"]
    assert jwt.project.json("admin", "demote", BOB)["roles"] == ["admin"]
    assert links(jwt) == {(BOB, "admin")}
    assert jwt.users()[BOB][3] is False


def test_a_file_sets_the_roles_of_a_link_table(jwt: Application) -> None:
    """Of new and of existing accounts; an unknown role is an error of its row."""
    rows = [
        {"email": BOB, "roles": ["editor", "admin"]},
        {"email": "new@example.org", "password": HASH, "roles": ["editor"]},
    ]
    words = ("admin", "apply", "-", "-o", "json")
    result = jwt.project.run(*words, stdin=json.dumps(rows))
    assert result.code == 0, result
    assert links(jwt) == {(BOB, "editor"), (BOB, "admin"), ("new@example.org", "editor")}
    rows = [{"email": BOB, "roles": ["admin"]}, {"email": EVE, "roles": ["auditor"]}]
    refused = jwt.project.run(*words, stdin=json.dumps(rows))
    assert refused.code == ExitCode.NOT_FOUND
    assert len(links(jwt)) == 3
    assert jwt.project.run(*words, stdin=json.dumps(rows[:1])).code == 0
    assert links(jwt) == {(BOB, "admin"), ("new@example.org", "editor")}


def test_an_account_is_created_with_a_role(jwt: Application) -> None:
    """The link is made in the same transaction."""
    words = ("admin", "create", "--email", "new@example.org", "--role", "editor")
    created = jwt.project.json(*words, "--password-stdin", stdin=PASSWORD)
    assert created["roles"] == ["editor"]
    assert links(jwt) == {("new@example.org", "editor")}
    words = ("admin", "create", "--email", "other@example.org", "--role", "auditor")
    refused = jwt.project.run(*words, "--password-stdin", stdin=PASSWORD)
    assert refused.code == ExitCode.NOT_FOUND
    assert "other@example.org" not in jwt.users()


@pytest.mark.parametrize("session_name", SCHEMAS)
def test_the_role_in_a_column_is_replaced(shop: Application) -> None:
    """A column holds one role; revoking leaves it empty, and the others stay."""
    users, run = shop.layout.users, shop.project.json
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN role varchar(20)")
    add_to_mapping(shop, 'roles = "column"', 'role_column = "role"')

    def stored() -> dict[str, Any]:
        return dict(map(tuple, shop.project.rows(f"SELECT email, role FROM {users}")))

    assert run("admin", "grant-role", BOB, "editor")["roles"] == ["editor"]
    assert run("admin", "grant-role", BOB, "reader")["roles"] == ["reader"]
    assert stored() == {ADA: None, BOB: "reader", EVE: None}
    assert run("admin", "revoke-role", BOB, "reader")["roles"] == []
    assert stored() == {ADA: None, BOB: None, EVE: None}
    words = ("admin", "create", "--email", "new@example.org", "--role", "a", "--role", "b")
    assert shop.project.run(*words, "--password-stdin", stdin=PASSWORD).code == ExitCode.REFUSED
    assert len(stored()) == 3
    apply = ("admin", "apply", "-", "-o", "json")
    for roles, left in ((["editor"], "editor"), (["reader"], "reader"), ([], None)):
        text = json.dumps([{"email": BOB, "roles": roles}])
        assert shop.project.run(*apply, stdin=text).json[0]["result"] == "updated"
        assert stored()[BOB] == left
    text = json.dumps([{"email": BOB, "roles": ["a", "b"]}])
    assert shop.project.run(*apply, stdin=text).code == ExitCode.REFUSED
    assert stored()[BOB] is None


@pytest.mark.parametrize("session_name", SCHEMAS)
@pytest.mark.parametrize("given", [(), ("--role", "reader"), ("--role", "editor")])
def test_a_new_account_has_the_role_of_the_columns_default(
    shop: Application, given: tuple[str, ...]
) -> None:
    """The report names the role that is stored, of the database or of the command line."""
    users = shop.layout.users
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN role varchar(20) DEFAULT 'reader'")
    add_to_mapping(shop, 'roles = "column"', 'role_column = "role"')
    words = ("admin", "create", "new@example.org", "--regular", *given, "-o", "json")
    made = shop.project.run(*words, "--password-stdin", stdin=PASSWORD)
    stored = shop.project.rows(f"SELECT role FROM {users} WHERE email = 'new@example.org'")
    assert made.json["roles"] == [role for (role,) in stored] == [given[-1] if given else "reader"]


@pytest.mark.parametrize("session_name", SCHEMAS)
@pytest.mark.parametrize("declared", [None, [], ["reader"], ["editor"]])
def test_a_declared_account_has_the_declared_role_and_no_other(
    shop: Application, declared: Optional[list[str]]
) -> None:
    """A column's default applies if the file has no role; a second run changes nothing."""
    users = shop.layout.users
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN role varchar(20) DEFAULT 'reader'")
    add_to_mapping(shop, 'roles = "column"', 'role_column = "role"')
    row = {"email": "new@example.org", "password": "generate"} | (
        {} if declared is None else {"roles": declared}
    )
    words = ("admin", "apply", "-", "-o", "json")
    results = [shop.project.run(*words, stdin=json.dumps([row])).json[0]["result"] for _ in "ab"]
    stored = shop.project.rows(f"SELECT role FROM {users} WHERE email = 'new@example.org'")
    assert results == ["created", "unchanged"]
    expected = "reader" if declared is None else next(iter(declared), None)
    assert [role for (role,) in stored] == [expected]


@pytest.mark.parametrize("session_name", SCHEMAS)
def test_a_role_in_another_case_than_a_known_one_is_unknown(shop: Application) -> None:
    """An application with an enumeration in its code cannot read it; a new name is warned of."""
    users, run = shop.layout.users, shop.project.run
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN role varchar(7) DEFAULT 'BASIC'")
    add_to_mapping(shop, 'roles = "column"', 'role_column = "role"')
    row = json.dumps([{"email": BOB, "roles": ["basic"]}])
    new = ("admin", "create", "new@example.org", "--role", "basic", "--generate-password")
    for refused in (run("admin", "grant-role", BOB, "basic"), run(*new)):
        assert refused.code == ExitCode.NOT_FOUND
        assert "no role 'basic'" in refused.stderr
        assert "roles: BASIC" in refused.stderr
    assert run("admin", "apply", "-", stdin=row).code == ExitCode.NOT_FOUND
    assert shop.project.rows(f"SELECT DISTINCT role FROM {users}") == [("BASIC",)]
    granted = run("admin", "grant-role", BOB, "ADMIN")
    assert granted.code == 0
    assert "no account has the role 'ADMIN' yet" in granted.stderr
    assert run("admin", "grant-role", EVE, "ADMIN").stderr == ""


@pytest.mark.parametrize("session_name", ["plural-int-pg", "schema-qualified-pg"])
def test_an_enumeration_that_objects_is_a_conflict(shop: Application) -> None:
    """Exit 4 names the type and its values; a role that cannot be empty is replaced only."""
    users = shop.layout.users
    shop.project.rows("CREATE TYPE kind AS ENUM ('editor', 'reader')")
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN role kind NOT NULL DEFAULT 'reader'")
    add_to_mapping(shop, 'roles = "column"', 'role_column = "role"')
    refused = shop.project.run("admin", "grant-role", BOB, "auditor")
    assert refused.code == ExitCode.CONFLICT
    assert "kind" in refused.stderr
    assert "editor, reader" in refused.stderr
    assert shop.project.json("admin", "grant-role", BOB, "editor")["roles"] == ["editor"]
    refused = shop.project.run("admin", "revoke-role", BOB, "editor")
    assert refused.code == ExitCode.CONFLICT
    assert "cannot be NULL" in refused.stderr
    assert shop.project.json("admin", "show", BOB)["roles"] == ["editor"]


@pytest.mark.parametrize("session_name", SCHEMAS)
def test_a_check_on_the_role_is_a_conflict(shop: Application) -> None:
    """Exit 4 names the constraint."""
    users = shop.layout.users
    shop.project.rows(
        f"ALTER TABLE {users} ADD COLUMN role varchar(20)"
        " CONSTRAINT known_roles CHECK (role IN ('editor', 'reader'))"
    )
    add_to_mapping(shop, 'roles = "column"', 'role_column = "role"')
    refused = shop.project.run("admin", "grant-role", BOB, "auditor")
    assert refused.code == ExitCode.CONFLICT, refused
    assert "known_roles" in refused.stderr
    assert shop.project.json("admin", "grant-role", BOB, "reader")["roles"] == ["reader"]


@pytest.mark.parametrize(
    "command", [("roles",), ("grant-role", BOB, "x"), ("revoke-role", BOB, "x")]
)
def test_accounts_without_roles_get_none(shop: Application, command: tuple[str, ...]) -> None:
    """Exit 5: the mapping has no roles."""
    result = shop.project.run("admin", *command)
    assert result.code == ExitCode.REFUSED
    assert 'roles = "none"' in result.stderr


@pytest.mark.parametrize("session_name", SCHEMAS)
def test_an_account_is_marked_as_deleted(shop: Application) -> None:
    """The row stays with the timestamp of its deletion, its sessions do not."""
    users, run = shop.layout.users, shop.project.json
    kind = "timestamptz" if shop.project.server else "timestamp"
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN deleted_at {kind}")
    before, tokens = shop.users(), shop.tokens()
    refused = shop.project.run("admin", "delete", BOB, "--soft", "--yes")
    assert (refused.code, shop.tokens()) == (ExitCode.REFUSED, tokens)
    assert "soft_delete" in refused.stderr
    add_to_mapping(shop, 'soft_delete = "deleted_at"')
    planned = run("admin", "delete", BOB, "--soft", "--dry-run")
    assert (planned["result"], planned["sessions_revoked"]) == ("would_delete", 1)
    done = run("admin", "delete", BOB, "--soft", "--yes", "--settle", "0")
    assert (done["result"], done["sessions_revoked"]) == ("deleted", 1)
    assert shop.users() == before
    assert shop.users()[BOB][1] == HASH
    assert {token[:3] for token in shop.tokens()} == {"ada", "eve"}
    marked = shop.project.rows(f"SELECT email FROM {users} WHERE deleted_at IS NOT NULL")
    assert [row[0] for row in marked] == [BOB]
    assert [row["email"] for row in run("admin", "list", "--all")] == [ADA, EVE]
    assert shop.project.run("admin", "show", BOB).code == ExitCode.NOT_FOUND
    assert shop.project.run("admin", "delete", ADA, "--soft", "--yes").code == ExitCode.REFUSED


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("role_link.table", "a table gone"),
        ("role_link.role", "a column gone"),
        ("role_link.role_table", "a table gone"),
    ],
)
def test_tables_of_roles_that_do_not_fit_are_refused(
    jwt: Application, key: str, expected: str
) -> None:
    """Exit 78 with key, expected and found."""
    file = jwt.project.directory / "settings.toml"
    name = key.rpartition(".")[2]
    document = tomlkit.parse(file.read_text())
    mapping: Any = document["mapping"]
    mapping["role_link"] = {**mapping["role_link"], name: "gone"}
    file.write_text(tomlkit.dumps(document))
    result = jwt.project.run("admin", "list")
    assert result.code == ExitCode.CONFIGURATION, result
    assert f"mapping.{key}: expected {expected}, found none" in result.stderr


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-sqlite"])
def test_a_role_column_that_does_not_exist_is_refused(shop: Application) -> None:
    """Exit 78 with key, expected and found."""
    add_to_mapping(shop, 'roles = "column"', 'role_column = "rank"')
    result = shop.project.run("admin", "list")
    assert result.code == ExitCode.CONFIGURATION, result
    assert "mapping.role_column: expected a column rank, found none" in result.stderr

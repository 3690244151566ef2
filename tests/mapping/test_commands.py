"""The commands on the tables of other applications; the rows are compared afterwards."""

import json
from datetime import timedelta
from typing import Any

import pytest
import tomlkit

from clarinet_cli.exceptions import ExitCode
from tests.mapping.applications import ADA, BOB, EVE, HASH, Application, token_of
from tests.support import PASSWORD

LIVE = {token_of("ada-live-1"), token_of("ada-live-2")}
OTHERS = {token_of("bob-live-1"), token_of("eve-live-1")}
DEAD = {token_of("ada-dead-1")}


def test_accounts_are_listed(shop: Application) -> None:
    """Each account with its flags, its id as the application writes it, its live sessions."""
    rows = shop.project.json("admin", "list", "--all")
    assert [row["email"] for row in rows] == [ADA, BOB, EVE]
    assert [str(row["id"]) for row in rows] == [str(shop.ids[row["email"]]) for row in rows]
    assert [row["sessions"] for row in rows] == [2, 1, 0]
    assert [row["is_superuser"] for row in rows] == [True, False, False]
    assert [row["is_active"] for row in rows] == [True, True, False]
    assert {row["last_accessed"] for row in rows} == {None}
    assert [row["email"] for row in shop.project.json("admin", "list")] == [ADA]


def test_an_account_is_shown_by_address_and_id(shop: Application) -> None:
    """Both name the same account; its sessions are counted by state."""
    shown = shop.project.json("admin", "show", ADA)
    assert shown["sessions_by_state"] == {
        "total": 3,
        "active": 2,
        "idle": 0,
        "expired": 1,
        "blocked": 0,
    }
    assert shop.project.json("admin", "show", str(shop.ids[ADA])) == shown
    assert shop.project.json("admin", "show", ADA.upper()) == shown
    assert shop.project.run("admin", "show", "nobody@example.org").code == ExitCode.NOT_FOUND
    misspelt = shop.project.run("admin", "show", ADA.replace("ada", "adda"))
    assert f"did you mean {ADA!r}?" in misspelt.stderr


def test_accounts_are_exported(shop: Application) -> None:
    """The file declares the accounts without roles."""
    result = shop.project.run("admin", "export")
    assert result.code == 0, result
    assert ADA in result.stdout


def test_the_statistics_count_each_state(shop: Application) -> None:
    """A session expires a fixed time after its creation; none is idle."""
    stats = shop.project.json("session", "stats")
    counts = {key: stats[key] for key in ("total", "active", "idle", "expired", "blocked", "users")}
    assert counts == {
        "total": 5,
        "active": 3,
        "idle": 0,
        "expired": 1,
        "blocked": 1,
        "users": 3,
    }
    assert stats["average_life_seconds"] == 3600
    by_user = shop.project.json("session", "stats", "--by", "user")
    assert {row["key"]: row["total"] for row in by_user} == {ADA: 3, BOB: 1, EVE: 1}
    for key in ("role", "ip", "agent", "day"):
        rows = shop.project.json("session", "stats", "--by", key)
        assert sum(row["total"] for row in rows) == 5


def test_sessions_are_listed_newest_first(shop: Application) -> None:
    """Each with its user, its state and its expiry; what is not stored is null."""
    rows = shop.project.json("session", "list")
    assert len(rows) == 5
    assert {row["id"]: row["state"] for row in rows} == {
        "ada-live": "active",
        "ada-dead": "expired",
        "bob-live": "active",
        "eve-live": "blocked",
    }
    assert rows[-1]["id"] == "ada-dead"
    assert {str(row["user_id"]) for row in rows} == {str(key) for key in shop.ids.values()}
    assert {row["ip_address"] for row in rows} == {None}
    assert {row["last_accessed"] for row in rows} == {None}
    assert all(row["created_at"] < row["expires_at"] for row in rows)
    expired = shop.project.json("session", "list", "--state", "expired")
    assert [row["id"] for row in expired] == ["ada-dead"]
    assert len(shop.project.json("session", "list-user", ADA)) == 3
    assert len(shop.project.json("session", "list", "--older-than", "20m")) == 3


def test_a_session_is_shown(shop: Application) -> None:
    """By the first characters of its token, with its user."""
    shown = shop.project.json("session", "show", "bob-live")
    assert (shown["state"], shown["email"]) == ("active", BOB)
    assert str(shown["user_id"]) == str(shop.ids[BOB])


def test_one_session_is_revoked(shop: Application) -> None:
    """Only its row is deleted."""
    changes = shop.project.json("session", "revoke", "bob-live")
    assert [change["result"] for change in changes] == ["revoked"]
    assert shop.tokens() == LIVE | DEAD | OTHERS - {token_of("bob-live-1")}


def test_sessions_are_revoked_by_a_filter(shop: Application) -> None:
    """What the dry run lists is revoked, and nothing else."""
    words = ("session", "revoke", "--state", "active,expired", "--older-than", "20m", "--yes")
    planned = shop.project.json(*words, "--dry-run")
    assert [change["result"] for change in planned] == ["would_revoke"] * 3
    assert shop.tokens() == LIVE | DEAD | OTHERS
    changes = shop.project.json(*words)
    assert [change["result"] for change in changes] == ["revoked"] * 3
    assert shop.tokens() == {token_of("ada-live-1"), token_of("eve-live-1")}
    assert shop.project.json("session", "revoke", "--user", EVE, "--yes")[0]["email"] == EVE


def test_a_session_is_kept_when_all_are_revoked(shop: Application) -> None:
    """By its id."""
    words = ("session", "revoke-all", "--keep-current", "bob-live", "--yes")
    assert shop.project.json(*words)["sessions_revoked"] == 4
    assert shop.tokens() == {token_of("bob-live-1")}


def test_the_sessions_of_a_user_are_revoked(shop: Application) -> None:
    """All of that user's rows are deleted, in any stored form of the id."""
    report = shop.project.json("session", "revoke-user", ADA)
    assert (report["result"], report["sessions_revoked"]) == ("revoked", 3)
    assert shop.tokens() == OTHERS
    assert shop.project.json("session", "revoke-user", ADA)["result"] == "unchanged"


def test_the_newest_sessions_can_be_kept(shop: Application) -> None:
    """The order is that of the log-ins."""
    shop.project.json("session", "revoke-user", ADA, "--keep-newest", "1")
    assert shop.tokens() == OTHERS | {token_of("ada-live-1")}


def test_all_sessions_but_those_of_a_user_are_revoked(shop: Application) -> None:
    """A dry run counts, the real one deletes."""
    words = ("session", "revoke-all", "--except", ADA, "--yes")
    assert shop.project.json(*words, "--dry-run")["sessions_revoked"] == 2
    assert shop.tokens() == LIVE | DEAD | OTHERS
    assert shop.project.json(*words)["sessions_revoked"] == 2
    assert shop.tokens() == LIVE | DEAD


def test_a_clean_up_deletes_what_has_expired(shop: Application) -> None:
    """Sessions within their lifetime stay, regardless of the default retention."""
    assert shop.project.json("session", "cleanup", "--dry-run")["matched"] == 1
    report = shop.project.json("session", "cleanup")
    assert (report["matched"], report["deleted"], report["remaining"]) == (1, 1, 0)
    assert shop.tokens() == LIVE | OTHERS
    assert shop.project.json("session", "cleanup", "--expired-only")["matched"] == 0


def test_a_large_clean_up_is_done_in_batches(shop: Application) -> None:
    """Thousands of stale rows are deleted, and the live ones stay."""
    shop.add_sessions(BOB, 3000, timedelta(hours=2))
    report = shop.project.json("session", "cleanup", "--batch-size", "500")
    assert (report["deleted"], report["remaining"]) == (3001, 0)
    assert report["batches"] > 1
    assert shop.tokens() == LIVE | OTHERS


def test_sessions_without_a_lifetime_never_expire(shop: Application) -> None:
    """A clean-up matches nothing and gives the reason; the expiry is null."""
    shop.add_session(ADA, token_of("ada-year-1"), timedelta(days=400))
    env = {"CLARINET_SESSION_LIFETIME_SECONDS": "none"}
    result = shop.project.run("session", "cleanup", "-o", "json", env=env)
    assert (result.code, result.json["matched"], result.json["deleted"]) == (0, 0, 0)
    assert "do not expire" in result.stderr
    rows = shop.project.json("session", "list", env=env)
    assert {row["expires_at"] for row in rows} == {None}
    assert {row["state"] for row in rows} == {"active", "blocked"}
    stats = shop.project.json("session", "stats", env=env)
    assert (stats["expired"], stats["active"]) == (0, 5)
    assert (stats["next_expiry"], stats["average_life_seconds"]) == (None, None)
    assert shop.project.json("session", "show", "ada-year", env=env)["expires_at"] is None
    assert len(shop.tokens()) == 6


def test_flags_are_changed(shop: Application) -> None:
    """Promote, activate, demote and deactivate change only the flags of that account."""
    before = shop.users()
    assert shop.project.json("admin", "promote", BOB)["result"] == "updated"
    assert shop.project.json("admin", "promote", BOB)["result"] == "unchanged"
    assert shop.project.json("admin", "activate", EVE)["result"] == "updated"
    key = str(shop.ids[BOB])
    assert shop.users() == {
        ADA: before[ADA],
        BOB: (key, HASH, True, True, True),
        EVE: (before[EVE][0], HASH, True, False, True),
    }
    demoted = shop.project.json("admin", "demote", ADA, "--settle", "0")
    assert (demoted["result"], demoted["sessions_revoked"]) == ("updated", 3)
    assert shop.tokens() == OTHERS
    refused = shop.project.run("admin", "demote", BOB, "--settle", "0")
    assert refused.code == ExitCode.REFUSED
    shop.project.json("admin", "deactivate", EVE, "--settle", "0.1")
    assert shop.tokens() == {token_of("bob-live-1")}
    assert shop.users()[EVE][2] is False


def test_an_address_is_changed(shop: Application) -> None:
    """The sessions of that account end; another account's address is a conflict."""
    before = shop.users()
    conflict = shop.project.run("admin", "set-email", ADA, BOB.upper(), "--settle", "0")
    assert (conflict.code, shop.users()) == (ExitCode.CONFLICT, before)
    change = shop.project.json("admin", "set-email", ADA, "new@example.org", "--settle", "0")
    assert (change["result"], change["sessions_revoked"]) == ("updated", 3)
    assert shop.users() == {
        **{key: before[key] for key in (BOB, EVE)},
        "new@example.org": before[ADA],
    }
    assert shop.tokens() == OTHERS


def test_an_address_is_verified(shop: Application) -> None:
    """Only the flag of that account is changed."""
    before = shop.users()
    assert shop.project.json("admin", "unverify", BOB)["result"] == "updated"
    assert shop.users() == {**before, BOB: (*before[BOB][:4], False)}
    assert shop.project.json("admin", "verify", BOB)["result"] == "updated"
    assert shop.users() == before


@pytest.mark.parametrize("command", ["verify", "unverify"])
def test_an_address_can_not_be_verified_without_a_column(shop: Application, command: str) -> None:
    """The error names the setting, and nothing is changed; no account is shown as unverified."""
    settings = shop.project.directory / "settings.toml"
    document = tomlkit.parse(settings.read_text())
    mapping: Any = document["mapping"]
    mapping["user_columns"] = {**mapping.get("user_columns", {}), "is_verified": ""}
    settings.write_text(tomlkit.dumps(document))
    before = shop.users()
    result = shop.project.run("admin", command, BOB)
    assert (result.code, shop.users()) == (ExitCode.REFUSED, before)
    assert "is_verified" in result.stderr
    listed = shop.project.json("admin", "list", "--all")
    assert {row["is_verified"] for row in listed} == {None}
    assert shop.project.json("admin", "show", BOB)["is_verified"] is None


def test_a_password_is_reset(shop: Application) -> None:
    """The hash is another, the sessions are gone, all else stays."""
    before = shop.users()
    words = ("admin", "reset-password", ADA, "--password-stdin", "--settle", "0")
    result = shop.project.run(*words, stdin=PASSWORD)
    assert result.code == 0, result
    after = shop.users()
    assert after[ADA][1].startswith("$argon2id$")
    assert after[ADA][1] != before[ADA][1]
    assert {email: row[2:] for email, row in after.items()} == {
        email: row[2:] for email, row in before.items()
    }
    assert shop.tokens() == OTHERS


def test_an_account_is_deleted_with_its_sessions(shop: Application) -> None:
    """The other accounts and their sessions stay."""
    report = shop.project.json("admin", "delete", BOB, "--yes", "--settle", "0")
    assert (report["result"], report["sessions_revoked"]) == ("deleted", 1)
    assert shop.users().keys() == {ADA, EVE}
    assert shop.tokens() == LIVE | DEAD | {token_of("eve-live-1")}
    assert shop.project.run("admin", "delete", ADA, "--yes").code == ExitCode.REFUSED


def test_a_superuser_is_created(shop: Application) -> None:
    """With the id that the application would give it, and the further columns."""
    words = ("admin", "create", "--email", "new@example.org", "--password-stdin")
    assert shop.project.json(*words, "--dry-run", stdin=PASSWORD)["result"] == "would_create"
    assert len(shop.users()) == 3
    created = shop.project.json(*words, stdin=PASSWORD)
    assert created["result"] == "created"
    key, hashed, *flags = shop.users()["new@example.org"]
    assert (key, flags) == (str(created["id"]), [True, True, True])
    assert hashed.startswith("$argon2id$")
    assert len(key) == len(str(shop.ids[ADA])) or shop.layout.ids == "integer"
    if shop.layout.username:
        query = f"SELECT username FROM {shop.layout.users} WHERE email = ?"
        assert shop.project.rows(query, "new@example.org") == [("new@example.org",)]
    assert shop.project.run(*words, stdin=PASSWORD).code == ExitCode.CONFLICT
    shown = shop.project.json("admin", "show", created["email"])
    assert (shown["id"], shown["roles"]) == (created["id"], [])


def test_roles_are_refused(shop: Application) -> None:
    """Commands on roles end with 5; so does an account with roles."""
    for words in (["admin", "roles"], ["admin", "grant-role", ADA, "doctor"]):
        assert shop.project.run(*words).code == ExitCode.REFUSED
    create = ("admin", "create", "--email", "new@example.org", "--role", "doctor")
    refused = shop.project.run(*create, "--password-stdin", stdin=PASSWORD)
    assert refused.code == ExitCode.REFUSED
    assert len(shop.users()) == 3


@pytest.mark.parametrize("session_name", ["plural-int-username-pg", "created-on-sqlite"])
def test_a_column_without_a_value_is_named(shop: Application) -> None:
    """Without create_values the command is refused, and names column and setting."""
    file = shop.project.directory / "settings.toml"
    file.write_text(file.read_text().partition("[mapping.create_values]")[0])
    words = ("admin", "create", "--email", "new@example.org", "--password-stdin")
    refused = shop.project.run(*words, stdin=PASSWORD)
    assert refused.code == ExitCode.REFUSED
    assert "create_values.username" in refused.stderr
    assert len(shop.users()) == 3


@pytest.mark.parametrize("session_name", ["official-sqlite", "plural-int-username-pg"])
def test_the_first_superuser_is_ensured(shop: Application) -> None:
    """One that exists is enough; without any the one of the settings is created, once."""
    words = ("admin", "ensure", "--password-stdin")
    assert shop.project.json(*words, stdin=PASSWORD)["result"] == "unchanged"
    shop.project.rows(f"UPDATE {shop.layout.users} SET is_superuser = false")
    env = {"CLARINET_ADMIN_EMAIL": "first@example.org"}
    assert shop.project.json(*words, stdin=PASSWORD, env=env)["result"] == "created"
    assert shop.project.json(*words, stdin=PASSWORD, env=env)["result"] == "unchanged"
    assert shop.users()["first@example.org"][2:] == (True, True, True)


@pytest.mark.parametrize("session_name", ["official-sqlite", "official-pg"])
def test_the_rules_of_the_server_do_not_apply(shop: Application) -> None:
    """No note about its cache; sessions are old only after a given age."""
    shop.add_session(ADA, token_of("ada-year-1"), timedelta(days=400))
    env = {"CLARINET_SESSION_LIFETIME_SECONDS": "none"}
    assert shop.project.run("session", "revoke", "bob-live").stderr == ""
    assert shop.project.json("session", "cleanup", "--days", "300", env=env)["deleted"] == 1
    assert len(shop.tokens()) == 4


@pytest.mark.usefixtures("one_patient_try")
@pytest.mark.parametrize("session_name", ["official-sqlite", "official-pg"])
def test_waiting_for_the_schema_waits_for_the_tables_of_the_application(shop: Application) -> None:
    """They are checked as for each command; no revision is expected."""
    words = ("db", "wait", "--for", "schema", "--timeout", "0.2")
    assert shop.project.run(*words).code == 0
    shop.project.rows("DROP TABLE accesstoken")
    missing = shop.project.run(*words)
    assert missing.code == ExitCode.UNREACHABLE
    assert "mapping.tokens: expected a table" in missing.stderr


def test_changes_are_on_record(shop: Application) -> None:
    """The audit log has the ids as the application writes them."""
    log = shop.project.directory / "audit.log"
    assert shop.project.run("--audit-log", str(log), "admin", "promote", BOB).code == 0
    assert shop.project.run("--audit-log", str(log), "session", "revoke-user", ADA).code == 0
    first, second = map(json.loads, log.read_text().splitlines())
    assert str(first["target"]) == str(shop.ids[BOB])
    assert str(second["target"]) == str(shop.ids[ADA])


@pytest.mark.parametrize("session_name", ["official-sqlite", "schema-qualified-pg"])
def test_the_shell_opens_the_database_of_the_application(shop: Application) -> None:
    """SQL names the application's own tables."""
    query = f"SELECT count(*) + 1000 FROM {shop.layout.tokens}"
    result = shop.project.run_process("db", "shell", "--command", query)
    assert result.code == 0, result
    assert "1005" in result.stdout

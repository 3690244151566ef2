"""The record of each change: exactly one, exactly its fields, and no change without it."""

import json
import os
import pwd
import re
import socket
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.cli.scenes import ADA, ADMIN, admin_id, assert_failed, dump, populate
from tests.faults.processes import RUNS, run_alone
from tests.patience import PATIENCE_SECONDS
from tests.support import PASSWORD, Project

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
GRACE = "grace@example.org"
USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def peopled(project: Project) -> Project:
    """A project with ada, who has three sessions, and a second superuser, grace."""
    populate(project)
    project.add_user(GRACE, superuser=True)
    return project


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "audit.jsonl"


def records(log: Path) -> list[dict[str, Any]]:
    """Return the records of an audit log, whose lines must all be whole."""
    text = log.read_text("ascii") if log.exists() else ""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def id_of(project: Project, email: str) -> Optional[str]:
    """Return the id of an account as a record names it."""
    found = project.json("admin", "list", "--all")
    return next((row["id"] for row in found if row["email"] == email), None)


# The command, its result, the counts that go with it; run one after the other.
CHANGES: list[tuple[str, str, str, dict[str, int]]] = [
    (f"admin promote {ADA}", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin demote {ADA}", ADA, "updated", {"sessions_revoked": 3}),
    (f"admin deactivate {ADA}", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin activate {ADA}", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin grant-role {ADA} doctor", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin revoke-role {ADA} doctor", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin verify {ADA}", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin unverify {ADA}", ADA, "updated", {"sessions_revoked": 0}),
    (f"admin set-email {ADA} a@example.org", "a@example.org", "updated", {"sessions_revoked": 0}),
    (f"admin set-email a@example.org {ADA}", ADA, "updated", {"sessions_revoked": 0}),
    (
        f"admin reset-password {GRACE} --generate-password",
        GRACE,
        "updated",
        {"sessions_revoked": 0},
    ),
    (f"admin create --email {ADA} --update", ADA, "updated", {"sessions_revoked": 0}),
    (
        "admin create --email new@example.org --generate-password",
        "new@example.org",
        "created",
        {"sessions_revoked": 0},
    ),
]


def test_each_change_is_one_record(peopled: Project, log: Path) -> None:
    """Time, who, where, which command, which row, with which result: these fields and no more."""
    for number, (line, who, result, counts) in enumerate(CHANGES, 1):
        before = datetime.now(UTC) - timedelta(seconds=1)
        done = peopled.run("--audit-log", str(log), *line.split(), env={"SUDO_USER": "ada"})
        assert done.code == 0, done
        found = records(log)
        assert len(found) == number, line
        time = found[-1].pop("time")
        assert found[-1] == {
            "user": USER,
            "sudo_user": "ada",
            "host": socket.gethostname(),
            "command": " ".join(line.split()[:2]),
            "target": id_of(peopled, who),
            "result": result,
            **counts,
        }
        assert TIME.fullmatch(time)
        assert before <= datetime.fromisoformat(time) <= datetime.now(UTC)
    text = log.read_text()
    assert "@" not in text
    assert "argon2" not in text


def test_a_deletion_is_recorded_by_its_id(peopled: Project, log: Path) -> None:
    """The record has the id; without sudo it has no operator."""
    ada = id_of(peopled, ADA)
    result = peopled.run("--audit-log", str(log), "admin", "delete", ADA, "--yes")
    assert result.code == 0, result
    [found] = records(log)
    assert (found["target"], found["result"], found["sessions_revoked"]) == (ada, "deleted", 3)
    assert found["command"] == "admin delete"
    assert "sudo_user" not in found


def test_ensure_is_recorded_when_it_created_an_account(project: Project, log: Path) -> None:
    """The account that the settings name, made or repaired, and nothing the second time."""
    project.rows('UPDATE "user" SET is_superuser = false')
    for _ in range(2):
        words = ("admin", "ensure", "--generate-password")
        assert project.run("--audit-log", str(log), *words).code == 0
    [found] = records(log)
    assert (found["command"], found["result"]) == ("admin ensure", "updated")
    assert found["target"] == str(admin_id(project))


def test_the_first_superuser_is_recorded(empty_project: Project, log: Path) -> None:
    """Making a database ready makes its roles and one account, once."""
    for _ in range(2):
        words = ("--audit-log", str(log), "db", "init", "--generate-password")
        assert empty_project.run(*words).code == 0
    made, found = records(log)
    assert (made["command"], made["result"], made["roles"]) == ("db init", "created", 5)
    assert "target" not in made
    assert (found["command"], found["result"]) == ("db init", "created")
    assert found["target"] == str(admin_id(empty_project))


NO_CHANGES = [
    (f"admin promote {GRACE} --dry-run", 0),
    (f"admin demote {GRACE} --dry-run", 0),
    (f"admin delete {ADA} --dry-run", 0),
    ("admin create --email new@example.org --dry-run", 0),
    ("admin reset-password --dry-run", 0),
    (f"admin activate {ADA}", 0),
    (f"admin demote {ADA}", 0),
    (f"admin revoke-role {ADA} doctor", 0),
    (f"admin create --email {ADMIN} --if-not-exists", 0),
    ("admin ensure", 0),
    ("admin list --all", 0),
    (f"admin show {ADA}", 0),
    ("admin roles", 0),
    ("admin promote nobody@example.org", 3),
    (f"admin grant-role {ADA} nobody", 3),
    (f"admin create --email {ADA} --generate-password", 4),
    (f"admin delete {ADA}", 5),
    (f"admin reset-password {ADA} --generate-password", 5),
    (f"admin demote {ADMIN}", 5),
]


def test_what_changes_nothing_leaves_no_record(peopled: Project, log: Path) -> None:
    """Queries, dry runs, repetitions and refusals: not one line."""
    for line, code in NO_CHANGES:
        if code == 5:
            peopled.rows('UPDATE "user" SET is_active = false WHERE email = ?', GRACE)
        result = peopled.run("--audit-log", str(log), *line.split())
        assert result.code == code, (line, result)
        assert records(log) == [], line


def test_looking_and_trying_out_create_no_file(peopled: Project, log: Path) -> None:
    """Queries do not need write permission to the log, and a dry run writes nothing."""
    for line in ("admin list", "admin roles", f"admin promote {ADA} --dry-run"):
        assert peopled.run("--audit-log", str(log), *line.split()).code == 0
        assert peopled.run("--audit-log", "/dev/null/none", *line.split()).code == 0
    assert not log.exists()


class TestFile:
    """The file itself."""

    @pytest.mark.parametrize("backend", ["sqlite"])
    @pytest.mark.parametrize(("mode", "wanted"), [(0o600, 0o600), (0o644, 0o640), (0o660, 0o660)])
    def test_readers_of_the_database_can_read_it(
        self, peopled: Project, log: Path, mode: int, wanted: int
    ) -> None:
        """A new file gets the mode of the database, with any umask."""
        peopled.file.chmod(mode)
        mask = os.umask(0)
        try:
            peopled.run("--audit-log", str(log), "admin", "promote", ADA)
        finally:
            os.umask(mask)
        assert stat.S_IMODE(log.stat().st_mode) == wanted
        assert len(records(log)) == 1

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_it_is_appended_to(self, peopled: Project, log: Path) -> None:
        """Content and mode are kept, also when the file is renamed during the run."""
        log.write_text('{"other": 1}\n')
        log.chmod(0o640)
        for command in ("promote", "demote"):
            assert peopled.run("--audit-log", str(log), "admin", command, ADA).code == 0
        assert [*map(len, records(log))] == [1, 7, 7]
        assert log.read_text().startswith('{"other": 1}\n')
        assert stat.S_IMODE(log.stat().st_mode) == 0o640
        log.rename(log.with_suffix(".1"))
        assert peopled.run("--audit-log", str(log), "admin", "promote", ADA).code == 0
        assert len(records(log)) == 1

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_the_setting_starts_at_the_project(
        self, peopled: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relative name is in the project; that of the option is in the current directory."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        peopled.write_settings('audit_log = "logs/audit.jsonl"\n')
        assert peopled.run("admin", "promote", ADA).code == 0
        assert peopled.run("--audit-log", "mine.jsonl", "admin", "demote", ADA).code == 0
        assert [row["command"] for row in records(peopled.directory / "logs" / "audit.jsonl")] == [
            "admin promote"
        ]
        assert [row["command"] for row in records(elsewhere / "mine.jsonl")] == ["admin demote"]

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_odd_names_are_just_names(self, peopled: Project, tmp_path: Path) -> None:
        """Braces, blanks and percent signs mean nothing."""
        log = tmp_path / "a {time} %s [red]" / "{0}.jsonl"
        log.parent.mkdir()
        assert peopled.run("--audit-log", str(log), "admin", "promote", ADA).code == 0
        assert len(records(log)) == 1

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_a_name_that_none_can_be_is_a_configuration_error(self, peopled: Project) -> None:
        """78 with the key, nothing changed."""
        peopled.write_settings('audit_log = "a\\u0000b"\n')
        before = dump(peopled)
        result = peopled.run("admin", "promote", ADA)
        assert_failed(result, 78)
        assert "audit_log" in result.stderr
        assert dump(peopled) == before


CHANGING = [
    f"admin promote {ADA}",
    f"admin demote {GRACE}",
    f"admin deactivate {ADA}",
    f"admin delete {ADA} --yes",
    f"admin grant-role {ADA} doctor",
    f"admin reset-password {GRACE} --generate-password",
    "admin create --email new@example.org --generate-password",
]


class TestUnwritable:
    """A change that cannot be recorded is not made."""

    @pytest.mark.parametrize("where", ["/dev/full", ".", "/dev/null/none", "pipe"])
    def test_nothing_is_changed(self, peopled: Project, tmp_path: Path, where: str) -> None:
        """A full disk, a directory, no directory, a pipe without a reader: 1, one line.

        A generated password that was shown before is reported as not valid.
        """
        if where == "pipe":
            where = str(tmp_path / "pipe")
            os.mkfifo(where)
        before = dump(peopled)
        for line in CHANGING:
            result = peopled.run("--audit-log", where, *line.split())
            if result.stdout:
                assert "--generate-password" in line
                assert "warning: the password shown is not valid" in result.stderr
                result = replace(result, stdout="")
            assert_failed(result, 1)
            assert "the audit log" in result.stderr
            assert "hint: nothing was changed" in result.stderr
            assert dump(peopled) == before, line

    def test_a_process_of_its_own_ends_as_cleanly(self, peopled: Project) -> None:
        """At the end of the process nothing is retried or reported again."""
        before = dump(peopled)
        result = run_alone(peopled, "--audit-log", "/dev/full", "admin", "demote", GRACE)
        assert_failed(result, 1)
        assert len(result.stderr.splitlines()) == 2
        assert dump(peopled) == before

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_a_pipe_takes_records_while_it_has_a_reader(
        self, peopled: Project, tmp_path: Path
    ) -> None:
        """With a reader it works; when the reader has gone the next change is refused."""
        pipe = tmp_path / "pipe"
        got: list[bytes] = []
        os.mkfifo(pipe)
        reading = threading.Event()

        def read() -> None:
            descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            reading.set()
            wanted.wait(PATIENCE_SECONDS)
            got.append(os.read(descriptor, 4096))
            os.close(descriptor)

        wanted = threading.Event()
        reader = threading.Thread(target=read)
        reader.start()
        assert reading.wait(PATIENCE_SECONDS)
        result = peopled.run("--audit-log", str(pipe), "admin", "promote", ADA)
        wanted.set()
        reader.join()
        assert result.code == 0, result
        assert json.loads(got[0])["command"] == "admin promote"
        before = dump(peopled)
        assert_failed(peopled.run("--audit-log", str(pipe), "admin", "demote", ADA), 1)
        assert dump(peopled) == before

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_the_ordinary_log_announces_nothing(self, peopled: Project) -> None:
        """What could not be written to the audit log is in no other log either."""
        peopled.write_settings("log_to_file = true\n")
        assert peopled.run("--audit-log", "/dev/full", "admin", "promote", ADA).code == 1
        assert in_ordinary_log(peopled) == []


def in_ordinary_log(project: Project) -> list[dict[str, Any]]:
    """Return the records in the rotating log, as its structured field has them."""
    text = (project.directory / "logs" / "clarinet-cli.log").read_text()
    found = [json.loads(line)["record"]["extra"].get("audit") for line in text.splitlines()]
    return [item for item in found if item is not None]


def test_the_ordinary_log_has_the_same_record(peopled: Project, log: Path) -> None:
    """Without an audit log too: an object with the fields, not text to be parsed again."""
    peopled.write_settings("log_to_file = true\n")
    assert peopled.run("admin", "promote", ADA).code == 0
    assert peopled.run("--audit-log", str(log), "admin", "demote", ADA).code == 0
    first, second = in_ordinary_log(peopled)
    assert (first["command"], first["result"]) == ("admin promote", "updated")
    assert [second] == records(log)


def test_a_failed_commit_is_recorded(peopled: Project, log: Path) -> None:
    """The commit fails: the record is followed by one with 'failed'."""
    refuse_commits(peopled)
    before = dump(peopled)
    result = peopled.run("--audit-log", str(log), "admin", "promote", ADA)
    assert_failed(result, 4)
    assert dump(peopled) == before
    first, second = records(log)
    assert (first["result"], second["result"]) == ("updated", "failed")
    assert first["target"] == second["target"] == id_of(peopled, ADA)
    assert "sessions_revoked" not in second


def refuse_commits(project: Project) -> None:
    """Make each change of an account leave a row that is refused when it commits."""
    kind = "uuid" if project.server else "CHAR(32)"
    project.rows(
        f'CREATE TABLE notes (author {kind} REFERENCES "user" (id) DEFERRABLE INITIALLY DEFERRED)'
    )
    insert = "INSERT INTO notes (author) VALUES ('00000000000000000000000000000000')"
    if project.server is None:
        project.rows(f'CREATE TRIGGER late AFTER UPDATE ON "user" BEGIN {insert}; END')
        return
    project.rows(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {insert}; RETURN NULL; END $$"
    )
    project.rows('CREATE TRIGGER late AFTER UPDATE ON "user" FOR EACH ROW EXECUTE FUNCTION late()')


@pytest.mark.parametrize("backend", ["sqlite"])
def test_writers_at_once_do_not_mix_their_lines(peopled: Project, log: Path) -> None:
    """Several commands append to one file: each line is whole, none is lost."""
    users = [f"user{number}@example.org" for number in range(max(4, RUNS))]
    for email in users:
        peopled.add_user(email)

    def promote(email: str) -> None:
        assert run_alone(peopled, "--audit-log", str(log), "admin", "promote", email).code == 0

    threads = [threading.Thread(target=promote, args=(email,)) for email in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = records(log)
    assert {row["target"] for row in found} == {id_of(peopled, email) for email in users}
    assert len(found) == len(users)


def test_no_secret_is_in_it(peopled: Project, log: Path) -> None:
    """Neither a given nor a made-up password, nor a hash, a token or an address."""
    words = ("admin", "reset-password", GRACE)
    assert (
        peopled.run("--audit-log", str(log), *words, "--password-stdin", stdin=PASSWORD).code == 0
    )
    made = peopled.run("--audit-log", str(log), *words, "--generate-password", "-o", "json")
    assert peopled.run("--audit-log", str(log), "admin", "delete", ADA, "--yes").code == 0
    text = log.read_text()
    assert len(records(log)) == 3
    for secret in (PASSWORD, made.json["password"], "$argon2", "1111111", "@", "example.org"):
        assert secret not in text

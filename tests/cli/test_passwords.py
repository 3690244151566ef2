"""The ways to give a password besides the prompt, and what is refused."""

import json
import os
from pathlib import Path

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tests.cli.scenes import (
    ADA,
    ADMIN,
    all_commands,
    assert_failed,
    everything,
    options_of,
    populate,
    secret_file,
)
from tests.support import PASSWORD, Project

VERIFIER = PasswordHash((Argon2Hasher(),))
CREATE = ("admin", "create", "--email", ADA)
WAYS = ("--password-stdin", "--password-file", "--generate-password")
WITH_PASSWORD = ("db init", "admin create", "admin reset-password", "admin ensure")
# What arrives, and the password that it means: one newline at the end is the editor's.
# What is more than one line is refused (test_inputs).
ARRIVALS = [
    (b"correct horse", "correct horse"),
    (b"correct horse\n", "correct horse"),
    (b"correct horse\r\n", "correct horse"),
    (b"  correct horse \t\n", "  correct horse \t"),
    ("пароль-ключ-☃\n".encode(), "пароль-ключ-☃"),
]


def stored_hash(project: Project, email: str) -> str:
    """Return the hash of an account."""
    return str(project.rows('SELECT hashed_password FROM "user" WHERE email = ?', email)[0][0])


def assert_password(project: Project, password: str, email: str = ADA) -> None:
    """The stored hash is argon2id of exactly this password, as the server verifies it."""
    stored = stored_hash(project, email)
    assert stored.startswith("$argon2id$")
    assert VERIFIER.verify(password, stored)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(("content", "password"), ARRIVALS)
def test_standard_input_loses_one_newline_only(
    project: Project, content: bytes, password: str
) -> None:
    """One newline at the end (also CRLF) is removed; the rest is the password."""
    result = project.run(*CREATE, "--password-stdin", stdin=content)
    assert result.code == 0, result
    assert_password(project, password)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(("content", "password"), ARRIVALS)
def test_a_file_loses_one_newline_only(
    project: Project, tmp_path: Path, content: bytes, password: str
) -> None:
    """A file is read as standard input is, and a private one gets no warning."""
    path = secret_file(tmp_path, content)
    result = project.run(*CREATE, "--password-file", str(path))
    assert (result.code, result.stderr) == (0, "")
    assert_password(project, password)
    assert path.read_bytes() == content


@pytest.mark.parametrize("words", [("db", "init"), ("admin", "ensure")])
def test_each_command_takes_the_password_from_standard_input(
    empty_project: Project, words: tuple[str, ...]
) -> None:
    """The first superuser gets the password that arrives, on each backend."""
    if words == ("admin", "ensure"):
        empty_project.write_settings("admin_auto_create = false\n")
        assert empty_project.run("db", "init").code == 0
    result = empty_project.run(*words, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert result.code == 0, result
    assert PASSWORD not in result.stdout + result.stderr
    assert_password(empty_project, PASSWORD, ADMIN)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_file_that_others_can_read_gets_a_warning(
    project: Project, tmp_path: Path, mode: int
) -> None:
    """The password is taken, and the warning names the file and the remedy on stderr."""
    path = secret_file(tmp_path, PASSWORD.encode(), mode=mode)
    result = project.run(*CREATE, "--password-file", str(path), "-o", "json")
    assert result.code == 0
    assert "warning" in result.stderr
    assert str(path) in result.stderr
    assert "chmod 600" in result.stderr
    assert result.json["result"] == "created"


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_pipe_serves_as_a_file(project: Project) -> None:
    """A shell's <(…) is a file like any other."""
    read, write = os.pipe()
    try:
        os.write(write, f"{PASSWORD}\n".encode())
        os.close(write)
        result = project.run(*CREATE, "--password-file", f"/dev/fd/{read}")
    finally:
        os.close(read)
    assert result.code == 0, result
    assert_password(project, PASSWORD)


@pytest.mark.parametrize("words", [CREATE, ("admin", "reset-password"), ("db", "init")])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_missing_file_is_not_found(
    project: Project, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Exit 3 names the file; nothing is written."""
    before = everything(project)
    result = project.run(*words, "--password-file", str(tmp_path / "missing"))
    assert_failed(result, 3)
    assert str(tmp_path / "missing") in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("words", [CREATE, ("admin", "reset-password")])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_directory_is_no_password_file(
    project: Project, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Exit 2 names it; nothing is written."""
    before = everything(project)
    result = project.run(*words, "--password-file", str(tmp_path))
    assert_failed(result, 2)
    assert str(tmp_path) in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("by_file", [True, False])
def test_bytes_that_are_not_utf_8_are_refused(
    project: Project, tmp_path: Path, by_file: bool
) -> None:
    """Exit 2 gives the reason, without the bytes; nothing is written."""
    before = everything(project)
    content = b"caf\xe9 latin-1 secret"
    if by_file:
        source = ("--password-file", str(secret_file(tmp_path, content)))
        result = project.run(*CREATE, *source)
    else:
        result = project.run(*CREATE, "--password-stdin", stdin=content)
    assert_failed(result, 2)
    assert "UTF-8" in result.stderr
    assert "latin-1 secret" not in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("words", [("db", "init"), CREATE, ("admin", "ensure")])
def test_a_generated_password_is_printed_once_on_stdout(
    empty_project: Project, words: tuple[str, ...]
) -> None:
    """It is in the result, works, is strong, and is printed nowhere else."""
    if words != ("db", "init"):
        empty_project.write_settings("admin_auto_create = false\n")
        assert empty_project.run("db", "init").code == 0
        empty_project.write_settings("admin_require_strong_password = true\n")
    result = empty_project.run("-vv", *words, "--generate-password", "-o", "json")
    assert result.code == 0, result
    rows = result.json if isinstance(result.json, list) else [result.json]
    password = next(row["password"] for row in rows if "password" in row)
    assert len(password) >= 20
    assert result.stdout.count(password) == 1
    assert password not in result.stderr
    assert_password(empty_project, password, ADA if words == CREATE else ADMIN)


def test_a_generated_password_replaces_the_old_one(project: Project) -> None:
    """After a reset the printed password is the one that works; sessions are gone."""
    populate(project)
    result = project.run("admin", "reset-password", "--generate-password", "-o", "json")
    assert result.code == 0, result
    assert result.json["sessions_revoked"] == 1
    assert_password(project, result.json["password"], ADMIN)
    assert "44444444-admin" not in project.tokens()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_two_generated_passwords_differ(project: Project) -> None:
    """Each run generates another one."""
    reset = ("admin", "reset-password", "--generate-password")
    assert project.json(*reset)["password"] != project.json(*reset)["password"]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "plain"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_password_is_shown_where_none_was_made(project: Project, form: str) -> None:
    """With an active superuser nothing is generated and no field speaks of one."""
    before = stored_hash(project, ADMIN)
    for words in (("db", "init"), ("admin", "ensure")):
        result = project.run(*words, "--generate-password", "-o", form)
        assert result.code == 0, result
        # 'db init' names the file, whose path has this test's name in it.
        assert "password" not in result.stdout.replace(str(project.directory), "")
    assert stored_hash(project, ADMIN) == before


@pytest.mark.parametrize("words", [("db", "init"), CREATE, ("admin", "reset-password")])
@pytest.mark.parametrize(
    "sources",
    [
        ("--password-stdin", "--generate-password"),
        ("--password-stdin", "--password-file", "FILE"),
        ("--password-file", "FILE", "--generate-password"),
        ("--password-stdin", "--password-file", "FILE", "--generate-password"),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_two_sources_exclude_each_other(
    project: Project, tmp_path: Path, words: tuple[str, ...], sources: tuple[str, ...]
) -> None:
    """Exit 2 names the options; nothing is written."""
    path = secret_file(tmp_path, PASSWORD.encode())
    before = everything(project)
    given = [str(path) if word == "FILE" else word for word in sources]
    result = project.run(*words, *given, stdin=PASSWORD)
    assert_failed(result, 2)
    assert all(way in result.stderr for way in WAYS)
    assert everything(project) == before


def test_the_settings_give_the_password_of_their_administrator(empty_project: Project) -> None:
    """admin_password is used for the account of the settings, with a note."""
    empty_project.write_settings('admin_password = "from the settings"\n')
    result = empty_project.run("db", "init", "-o", "json")
    assert result.code == 0, result
    assert "admin_password" in result.stderr
    assert "from the settings" not in result.stdout
    assert [row["step"] for row in result.json][-1] == "superuser"
    assert_password(empty_project, "from the settings", ADMIN)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_settings_give_no_password_to_others(project: Project) -> None:
    """admin_password is not used for another account: exit 2, nothing written."""
    project.add_user(ADA, superuser=True)
    project.write_settings('admin_password = "from the settings"\n')
    before = everything(project)
    other = ("admin", "create", "--email", "other@example.org")
    for words in (other, ("admin", "reset-password", ADA)):
        assert_failed(project.run(*words), 2)
    assert everything(project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_option_beats_the_settings(project: Project) -> None:
    """What is asked for on the command line wins over admin_password."""
    project.write_settings('admin_password = "from the settings"\n')
    result = project.run("admin", "reset-password", "--password-stdin", stdin="given by option")
    assert result.code == 0, result
    assert_password(project, "given by option", ADMIN)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_reset_takes_the_settings_password_for_their_administrator(project: Project) -> None:
    """reset-password without options sets admin_password on the settings' own account."""
    project.write_settings('admin_password = "from the settings"\n')
    assert project.run("admin", "reset-password", ADMIN.upper()).code == 0
    assert_password(project, "from the settings", ADMIN)


@pytest.mark.parametrize("words", [CREATE, ("admin", "reset-password")])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_script_without_a_password_gets_a_hint_to_the_options(
    project: Project, words: tuple[str, ...]
) -> None:
    """Exit 2 names all password options; there is no default."""
    before = everything(project)
    result = project.run(*words)
    assert_failed(result, 2)
    assert all(way in result.stderr for way in WAYS)
    assert everything(project) == before


def test_db_init_has_no_default_password(empty_project: Project) -> None:
    """In a script without any password: exit 2, the ways named, no database made."""
    before = everything(empty_project)
    result = empty_project.run("db", "init")
    assert_failed(result, 2)
    assert all(way in result.stderr for way in WAYS)
    assert everything(empty_project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_empty_input_is_no_password(project: Project) -> None:
    """Nothing on standard input, or a lone newline, is refused."""
    before = everything(project)
    for content in (b"", b"\n", b"\r\n"):
        assert_failed(project.run(*CREATE, "--password-stdin", stdin=content), 2)
    assert everything(project) == before


def test_no_command_has_a_password_option() -> None:
    """Arguments are visible to every user of the machine."""
    for name, command in all_commands().items():
        options = options_of(command)
        assert not options & {"--password", "--pass", "--passwd", "--pw", "-p", "-P"}, name
        asks = {option for option in options if "password" in option}
        # A file may declare many accounts: one password for all of them is no way.
        ways = {"--generate-password"} if name == "admin apply" else set()
        assert asks == (set(WAYS) if name in WITH_PASSWORD else ways), name


@pytest.mark.parametrize("words", [w for name in WITH_PASSWORD for w in [tuple(name.split())]])
@pytest.mark.parametrize("given", [("--password", "s3cret value"), ("--password=s3cret value",)])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_password_option_is_unknown_and_not_repeated(
    project: Project, words: tuple[str, ...], given: tuple[str, ...]
) -> None:
    """--password is a usage error; what was typed is not shown again."""
    result = project.run(*words, *given)
    assert_failed(result, 2)
    assert "--password" in result.stderr
    assert "s3cret" not in result.stderr


REFUSED = ["x", "admin123", "ADMIN123", "letmein1", "changeme", ADA, ADA.upper(), "\0" * 12]


@pytest.mark.parametrize("password", REFUSED)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_bad_password_creates_nothing(project: Project, password: str) -> None:
    """Short, well known, the e-mail itself: exit 2, nothing written, not repeated."""
    before = everything(project)
    result = project.run(*CREATE, "--password-stdin", stdin=password)
    assert_failed(result, 2)
    assert f" {password}" not in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("password", ["x", "admin123"])
def test_a_bad_password_resets_nothing(project: Project, password: str) -> None:
    """The old password and the sessions stay."""
    populate(project)
    before = everything(project)
    result = project.run("admin", "reset-password", "--password-stdin", stdin=password)
    assert_failed(result, 2)
    assert everything(project) == before


@pytest.mark.parametrize("password", ["x", "admin123"])
def test_a_bad_password_initialises_nothing(empty_project: Project, password: str) -> None:
    """Before anything is made the password is looked at: exit 2, no database."""
    before = everything(empty_project)
    result = empty_project.run("db", "init", "--password-stdin", stdin=password)
    assert_failed(result, 2)
    assert everything(empty_project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_bad_password_in_the_settings_initialises_nothing(empty_project: Project) -> None:
    """A default password in the settings is refused as one on the command line is."""
    empty_project.write_settings('admin_password = "admin123"\n')
    before = everything(empty_project)
    result = empty_project.run("db", "init")
    assert result.code in {2, 78}
    assert result.stdout == ""
    assert "admin123" not in result.stderr
    assert everything(empty_project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_strong_policy_names_each_rule(project: Project) -> None:
    """admin_require_strong_password asks for length, both cases and a digit."""
    project.write_settings("admin_require_strong_password = true\n")
    before = everything(project)
    result = project.run(*CREATE, "--password-stdin", stdin="all lower")
    assert_failed(result, 2)
    for rule in ("12 characters", "upper-case", "digit"):
        assert rule in result.stderr
    assert everything(project) == before
    assert project.run(*CREATE, "--password-stdin", stdin="Not All Lower 1").code == 0


@pytest.mark.parametrize("length", [8, 1024])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_limits_of_length_are_accepted(project: Project, length: int) -> None:
    """From 8 to 1024 characters, of any number of bytes."""
    password = "Ж7kфQ9ыz" + "é" * (length - 8)
    assert project.run(*CREATE, "--password-stdin", stdin=password).code == 0
    assert_password(project, password)


@pytest.mark.parametrize("length", [7, 1025])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_beyond_the_limits_of_length_is_refused(project: Project, length: int) -> None:
    """Shorter or longer: exit 2 with the limit, nothing written."""
    before = everything(project)
    result = project.run(*CREATE, "--password-stdin", stdin="é" * length)
    assert_failed(result, 2)
    assert "characters" in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("email", ["nobody", "", "a@b", "a@host.local", "two@at@example.org"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_what_is_no_address_is_refused(project: Project, email: str) -> None:
    """Exit 2 with the reason, nothing written."""
    before = everything(project)
    result = project.run("admin", "create", "--email", email, "--generate-password")
    assert_failed(result, 2)
    assert "e-mail address" in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_dry_run_shows_no_password(project: Project) -> None:
    """A password that would not be stored is not printed either."""
    result = project.run(*CREATE, "--generate-password", "--dry-run", "-o", "json")
    assert json.loads(result.stdout)["result"] == "would_create"
    assert "password" not in result.stdout


@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_empty_user_is_not_the_administrator(project: Project) -> None:
    """A script's unset variable does not reset the password of the settings' admin."""
    before = everything(project)
    result = project.run("admin", "reset-password", "", "--generate-password")
    assert result.code in {2, 3}, result
    assert_failed(result, result.code)
    assert everything(project) == before

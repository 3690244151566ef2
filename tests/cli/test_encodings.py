"""Other locales: data is UTF-8 everywhere, what people read follows the locale."""

import json
import subprocess
from collections.abc import Mapping

import pytest
from argon2 import PasswordHasher

from tests import forked
from tests.support import Project, process_environment, run_in_encoding

EMAIL = "иван@example.org"
AGENT = "Браузер 漢 é"
LATIN = "élan@example.org"
LATIN_1 = {"PYTHONIOENCODING": "iso-8859-1:strict"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
in_each_encoding = pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii", "koi8-r", "cp1251"])
in_two_locales = pytest.mark.parametrize("locale", [LATIN_1, C_LOCALE], ids=["latin-1", "C"])
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
Run = subprocess.CompletedProcess[bytes]


@pytest.fixture
def people(project: Project) -> Project:
    """A project with accounts and a session in letters of several scripts."""
    user = project.add_user(EMAIL, superuser=True)
    project.add_user(LATIN)
    project.add_session(user, token="55555555-agent", user_agent=AGENT)
    return project


def run(project: Project, *words: str, locale: Mapping[str, str], stdin: bytes = b"") -> Run:
    """Run a command in a process of its own, in this locale."""
    return forked.run(project.words(*words), content=stdin, env=process_environment(locale))


def run_here(
    project: Project, *words: str, encoding: str, stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Run a command in this process, with streams in this encoding."""
    return run_in_encoding(["-C", str(project.directory), *words], encoding, stdin=stdin)


@on_sqlite
@in_two_locales
def test_data_is_utf_8_in_a_process_of_another_locale(
    people: Project, locale: dict[str, str]
) -> None:
    """CSV has the same bytes as in a UTF-8 locale, and 'apply' reads them."""
    exported = run(people, "admin", "export", "-o", "csv", locale=locale)
    assert (exported.returncode, exported.stderr) == (0, b"")
    assert exported.stdout.decode() == people.run("admin", "export", "-o", "csv").stdout
    assert EMAIL in exported.stdout.decode()
    words = ("admin", "apply", "-", "-o", "jsonl")
    applied = run(people, *words, locale=locale, stdin=exported.stdout)
    assert applied.returncode == 0, applied
    assert {json.loads(line)["mark"] for line in applied.stdout.splitlines()} == {"="}


@on_sqlite
@in_each_encoding
def test_data_is_utf_8_in_every_locale(people: Project, encoding: str) -> None:
    """Each format has the same bytes as in a UTF-8 locale."""
    for form in ("json", "jsonl", "csv", "plain"):
        words = ("session", "list", "-o", form)
        code, stdout, stderr = run_here(people, *words, encoding=encoding)
        assert (code, stderr) == (0, b"")
        assert stdout.decode() == people.run(*words).stdout
        assert EMAIL in stdout.decode()
        assert AGENT in stdout.decode()


@on_sqlite
@in_each_encoding
def test_what_one_locale_exports_another_applies(people: Project, encoding: str) -> None:
    """Applying an exported file changes nothing, in any locale."""
    for form in ("json", "csv"):
        words = ("admin", "export", "-o", form)
        code, exported, _ = run_here(people, *words, encoding=encoding)
        assert code == 0
        for reader in (encoding, "utf-8"):
            apply = ("admin", "apply", "-", "-o", "json")
            code, applied, stderr = run_here(people, *apply, encoding=reader, stdin=exported)
            assert code == 0, stderr
            assert {row["mark"] for row in json.loads(applied)} == {"="}


@on_sqlite
@in_each_encoding
def test_metrics_are_utf_8_in_every_locale(people: Project, encoding: str) -> None:
    """The format requires UTF-8."""
    words = ("session", "stats", "--by", "user", "-o", "prometheus")
    code, stdout, _ = run_here(people, *words, encoding=encoding)
    assert code == 0
    assert EMAIL in stdout.decode()


@on_sqlite
@in_each_encoding
def test_a_password_is_utf_8_in_every_locale(people: Project, encoding: str) -> None:
    """What is typed into a file in UTF-8 is the password that the server will compare."""
    password = "верный конь батарея"
    words = ("admin", "reset-password", EMAIL, "--password-stdin")
    code, _, stderr = run_here(people, *words, encoding=encoding, stdin=password.encode())
    assert code == 0, stderr
    ((stored,),) = people.rows('SELECT hashed_password FROM "user" WHERE email = ?', EMAIL)
    assert PasswordHasher().verify(stored, password)


@on_sqlite
@pytest.mark.parametrize(
    ("encoding", "email", "latin"),
    [
        ("iso-8859-1", r"\u0438\u0432\u0430\u043d@example.org", LATIN),
        ("ascii", r"\u0438\u0432\u0430\u043d@example.org", r"\xe9lan@example.org"),
        ("koi8-r", EMAIL, r"\xe9lan@example.org"),
        ("utf-8", EMAIL, LATIN),
    ],
)
def test_a_table_has_the_letters_that_its_locale_has(
    people: Project, encoding: str, email: str, latin: str
) -> None:
    """Only the letters that the encoding lacks are escaped; the line has dashes there."""
    code, stdout, stderr = run_here(people, "admin", "list", "--all", encoding=encoding)
    assert (code, stderr) == (0, b"")
    shown = stdout.decode(encoding)
    assert email in shown
    assert latin in shown
    assert ("─" if encoding in ("utf-8", "koi8-r") else "---") in shown


@on_sqlite
@in_each_encoding
def test_messages_never_fail_for_their_letters(people: Project, encoding: str) -> None:
    """An error about an address is one line in any locale."""
    code, stdout, stderr = run_here(people, "admin", "show", "нет@漢.org", encoding=encoding)
    assert (code, stdout) == (3, b"")
    assert stderr.decode(encoding).startswith("error: ")


@in_each_encoding
def test_help_is_shown_in_every_locale(encoding: str) -> None:
    """Help has no letter that ends it: what the locale lacks is escaped."""
    for words in (["--help"], ["session", "cleanup", "--help"], ["admin", "create", "-h"]):
        code, stdout, stderr = run_in_encoding(words, encoding)
        assert (code, stderr) == (0, b"")
        assert b"Usage: clarinet" in stdout


@on_sqlite
def test_help_is_shown_in_a_process_of_the_c_locale(project: Project) -> None:
    """As a cron job without LANG sees it."""
    done = run(project, "session", "cleanup", "--help", locale=C_LOCALE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage: clarinet" in done.stdout

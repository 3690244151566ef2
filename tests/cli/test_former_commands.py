"""Commands of the tool that this one replaces: accepted, with a note of their present form."""

import pytest

from clarinet_cli.exceptions import ExitCode
from tests.cli.scenes import ADA, ADMIN, populate
from tests.support import PASSWORD, Project

FORMS = [
    ("db migrate", "migrate upgrade"),
    ("db migrate up", "migrate upgrade"),
    ("db migrate --dry-run", "migrate upgrade"),
    ("db migrate head", "migrate upgrade"),
    ("db migrate status", "migrate status"),
    ("db migrate history", "migrate history"),
    ("db migrate down 1 --dry-run", "migrate downgrade -1"),
    ("db migrate down --dry-run", "migrate downgrade -1"),
    ("db migrate down base --dry-run", "migrate downgrade"),
    ("session cleanup-once", "session cleanup"),
    ("session cleanup-once --dry-run", "session cleanup"),
    ("session cleanup-all --dry-run", "session revoke-all"),
    ("session cleanup-all --yes", "session revoke-all"),
]


@pytest.mark.parametrize(("line", "present"), FORMS)
def test_a_former_command_is_accepted(project: Project, line: str, present: str) -> None:
    """One note names the present form."""
    populate(project)
    result = project.run(*line.split())
    assert result.code == 0, result
    group, command = line.split()[:2]
    note = f"'clarinet {group} {command}' is now 'clarinet {present}'"
    assert result.stderr.splitlines().count(note) == 1


def test_a_former_command_is_quiet_and_hidden(project: Project) -> None:
    """No note with -q, and nothing of it in the help."""
    assert project.run("-q", "session", "cleanup-once").stderr == ""
    for group in ("db", "session"):
        help_text = project.run(group, "--help").stdout
        assert "cleanup-once" not in help_text
        assert " migrate " not in help_text


def test_all_sessions_are_revoked_after_a_confirmation_only(project: Project) -> None:
    """As the tool before this one did: a script has to confirm."""
    populate(project)
    result = project.run("session", "cleanup-all")
    assert (result.code, project.count("access_token")) == (ExitCode.REFUSED, 4)
    assert project.json("session", "cleanup-all", "--yes")["sessions_revoked"] == 4
    assert project.count("access_token") == 0


def test_an_error_in_a_former_command_names_a_form_that_exists(project: Project) -> None:
    """The hint leads to the help."""
    result = project.run("db", "migrate", "status", "--wrong")
    assert result.code == ExitCode.USAGE
    assert "'clarinet db migrate status --help'" in result.stderr
    assert project.run("db", "migrate", "status", "--help").code == 0


@pytest.mark.parametrize(
    "words",
    [
        [ADA, "--keep-current"],
        ["--keep-current", ADA],
        [ADA, "--keep-current", "--dry-run"],
        [ADA, "--keep-current", "-o", "plain"],
    ],
)
def test_keep_current_without_an_id_keeps_the_newest(project: Project, words: list[str]) -> None:
    """A note names the present form."""
    populate(project)
    result = project.run("session", "revoke-user", *words)
    assert result.code == 0, result
    assert "use --keep-newest 1" in result.stderr
    left = {token for token in project.tokens() if not token.endswith("admin")}
    assert "11111111-active" in left
    assert len(left) == (3 if "--dry-run" in words else 1)


def test_keep_current_with_an_id_keeps_that_session(project: Project) -> None:
    """There is no note."""
    populate(project)
    for words in ([ADA, "--keep-current", "22222222"], ["--keep-current", "22222222", ADA]):
        result = project.run("session", "revoke-user", *words)
        assert result.code == 0, result
        assert "--keep-newest" not in result.stderr
    assert project.tokens() == {"22222222-idle", "44444444-admin"}


def test_a_superuser_is_created_by_name_and_address(project: Project) -> None:
    """The address names the account; the note has the present form."""
    words = ("--username", "eve", "--email", "eve@example.org", "--password-stdin")
    result = project.run("admin", "create", *words, "-o", "json", stdin=PASSWORD)
    assert (result.code, result.json["email"]) == (0, "eve@example.org")
    assert "'clarinet admin create eve@example.org'" in result.stderr
    named = project.run("admin", "create", "--username", "bob", "--password-stdin", stdin=PASSWORD)
    assert named.code == 0
    assert "use 'clarinet admin create bob@clarinet.ru'" in named.stderr
    assert "--username" not in project.run("admin", "create", "--help").stdout


def test_a_password_is_reset_by_name(project: Project) -> None:
    """A name without a domain gets that of the server, as in 'admin create'."""
    words = ("--username", ADMIN.partition("@")[0], "--password-stdin", "-o", "json")
    result = project.run("admin", "reset-password", *words, stdin=PASSWORD)
    assert (result.code, result.json["email"]) == (0, ADMIN)
    assert f"'clarinet admin reset-password {ADMIN}'" in result.stderr
    both = project.run("admin", "reset-password", ADMIN, "--username", "admin")
    assert both.code == ExitCode.USAGE
    assert "--username" not in project.run("admin", "reset-password", "--help").stdout


@pytest.mark.parametrize("line", ["admin create eve@example.org", f"admin reset-password {ADMIN}"])
@pytest.mark.parametrize("option", [["--password", "secret-word"], ["--password=secret-word"]])
def test_a_password_as_an_argument_is_refused(
    project: Project, line: str, option: list[str]
) -> None:
    """With the reason and the other ways, and without the password."""
    result = project.run(*line.split(), *option)
    assert (result.code, result.stdout) == (ExitCode.USAGE, "")
    assert "see it in the process list" in result.stderr
    assert "--password-stdin, --password-file PATH, --generate-password" in result.stderr
    assert "secret-word" not in result.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("adda@example.org", [ADA]),
        ("ada@exmaple.org", [ADA]),
        ("Ada@example.or", [ADA]),
        ("ada@other.example", [ADA]),
        ("zed@example.org", []),
        ("ada", []),
        ("%@example.org", []),
    ],
)
def test_a_misspelled_address_is_suggested(project: Project, typed: str, meant: list[str]) -> None:
    """Only an address that exists, and that is alike."""
    populate(project)
    result = project.run("admin", "show", typed)
    assert result.code == ExitCode.NOT_FOUND
    assert ("did you mean" in result.stderr) == bool(meant)
    for address in meant:
        assert f"did you mean {address!r}?" in result.stderr

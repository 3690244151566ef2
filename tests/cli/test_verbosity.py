"""The log of ``-v`` and ``-vv`` on standard error."""

import re

from tests.cli.scenes import ADA, populate
from tests.support import Project

PASSWORD = "Correct-Horse-7-Battery"


def test_verbose_says_what_was_read_opened_and_how_long_it_took(project: Project) -> None:
    """The settings file, the redacted database, each transaction, and the whole command."""
    populate(project)
    (project.directory / ".env").write_text("CLARINET_LOG_TO_FILE=false\n")
    result = project.run("-v", "session", "list", "-o", "json")
    assert len(result.json) == 4
    read, opened, *others = result.stderr.splitlines()
    assert re.search(r"INFO \S+: read settings from .*\.env, .*settings\.toml in \d+ ms$", read)
    assert re.search(rf"opened {project.backend}\S+ in \d+ ms$", opened)
    assert project.server is None or f":{project.server.password}@" not in opened
    assert re.search(r"transaction of \d+ statements? took \d+ ms$", others[0])
    assert re.search(r"session list took \d+\.\d\d s$", others[-1])
    assert "SELECT" not in result.stderr


def test_very_verbose_says_the_statements_without_values(project: Project) -> None:
    """Each statement in one line; neither a password, nor an address, nor an id is in any."""
    ada = populate(project)
    words = ("-vv", "admin", "reset-password", ADA, "--any-user", "--password-stdin")
    result = project.run(*words, stdin=PASSWORD)
    assert result.code == 0, result
    statements = [line for line in result.stderr.splitlines() if " DEBUG " in line]
    assert any(re.search(r': UPDATE "?user"? SET hashed_password=', line) for line in statements)
    assert all(PASSWORD not in line and "argon2" not in line for line in statements)
    assert all(ADA not in line for line in statements)
    assert all(ada.hex not in line.replace("-", "") for line in statements)


def test_without_it_nothing_is_said(project: Project) -> None:
    """Neither about files nor about time, and a failure is one line."""
    populate(project)
    assert project.run("session", "list").stderr == ""
    assert len(project.run("admin", "show", "nobody@example.net").stderr.splitlines()) <= 2

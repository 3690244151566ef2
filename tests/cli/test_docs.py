"""The README and the pages of ``docs``: their links lead somewhere, their commands run."""

import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from clarinet_cli.exceptions import ExitCode
from tests.cli.scenes import ADA
from tests.cli.test_help import COMMANDS, make_ada
from tests.mapping.applications import SCHEMAS
from tests.programs import add_sqlite_program
from tests.support import PASSWORD, Project

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.joinpath("docs").glob("*.md"))]
# Their commands are tried elsewhere: generated help, a library, and figures.
OTHERS = {"reference.md", "library.md", "performance.md", "reliability.md"}
BLOCK = re.compile(r"^```(?:sh|cron|ini)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"(?:^|[\s/(])clarinet (?=[-a-z])")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENDLESS = {"--watch", "--every"}
PASSWORD_COMMAND = re.compile(r"admin create|admin reset-password|db init")


def commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of the program, without the rest of a pipeline."""
    for line in block.splitlines():
        found = PROGRAM.search(line)
        if found is None or line.startswith("#"):
            continue
        lexer = shlex.shlex(line[found.end() :], posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        ends = [n for n, word in enumerate(words) if set(word) <= set("|>&;()")]
        yield words[: ends[0]] if ends else words


BLOCKS = [
    pytest.param(page, block, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.name not in OTHERS
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")))
    if list(commands(block))
]


def test_the_readme_is_short() -> None:
    """A busy operator reads it in two minutes."""
    assert len(README.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_to_a_file(page: Path) -> None:
    """Relative links are files of the repository, and their anchors are headings."""
    for link in LINK.findall(page.read_text("utf-8")):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
        slugs = [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
        assert not anchor or anchor in slugs, link


def test_the_readme_leads_to_each_page() -> None:
    """No page is out of reach."""
    linked = {README.parent / link for link in LINK.findall(README.read_text("utf-8"))}
    assert set(PAGES) - {README} <= linked


@pytest.mark.parametrize(("page", "block"), BLOCKS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_each_command_of_a_page_runs(
    page: Path, block: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of a block succeed, one after the other."""
    if page.name == "applications.md":
        project = official_application(tmp_path)
    else:
        prepare(project, drill="-C drill" in block)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    add_sqlite_program(tmp_path)
    for words in commands(block):
        run(project, [in_project(project, word) for word in words])


def prepare(project: Project, *, drill: bool) -> None:
    """Make accounts, a session, files and directories that the pages name."""
    make_ada(project)
    owner = UUID(project.json("admin", "show", ADA)["id"])
    project.add_session(owner, token="8f3kQ2xZ".ljust(43, "r"))
    accounts = project.run("admin", "export", "-o", "csv").stdout
    (project.directory / "accounts.csv").write_text(accounts)
    (project.directory / "backups").mkdir()
    if drill:
        (project.directory / "drill").mkdir()
        (project.directory / "drill" / "settings.toml").write_text(
            'database_driver = "sqlite"\ndatabase_name = "clarinet_drill"\n'
        )
        saved = project.directory / "backups" / "latest"
        assert project.run("db", "backup", str(saved)).code == ExitCode.OK


def official_application(directory: Path) -> Project:
    """Return a project beside the database of the documented application."""
    place = directory / "application"
    place.mkdir()
    with closing(sqlite3.connect(place / "test.db")) as connection:
        connection.executescript((SCHEMAS / "official-sqlite.sql").read_text("utf-8"))
    (place / "settings.toml").write_text('database_driver = "sqlite"\ndatabase_name = "test"\n')
    environment = {
        "CLARINET_SESSION_STRATEGY": "database",
        "CLARINET_SESSION_LIFETIME_SECONDS": "3600",
    }
    return Project(place, "sqlite", "test", environment=environment)


def in_project(project: Project, word: str) -> str:
    """Return a word with the paths of the pages replaced by those of a project."""
    places = {
        "/srv/clarinet": ".",
        "/var/backups/clarinet": "backups",
        "/var/lib/node_exporter/clarinet_cleanup.prom": "clarinet_cleanup.prom",
        "$latest": "backups/latest",
        "drill": "drill",
        "accounts.csv": "accounts.csv",
        "before.db": "before.db",
        "/var/backups/clarinet.db": "backups/clarinet.db",
    }
    return str(project.directory / places[word]) if word in places else word


def run(project: Project, words: list[str]) -> None:
    """Run a command; confirm what asks, and generate each password."""
    line = " ".join(words)
    if ENDLESS & set(words):
        words = [*words, "--help"]
    if PASSWORD_COMMAND.search(line) and "password-" not in line.partition("reset-password")[2]:
        words = [*words, "--generate-password"]
    if "admin create" in line:
        project.run("admin", "delete", words[words.index("create") + 1], "--yes")
    done = (
        project.run_process(*words, redirections=">/dev/null")
        if words[-1] == "-" or "shell" in words  # it takes the place of its process
        else project.run(*words, stdin=PASSWORD)
    )
    if done.code == ExitCode.REFUSED:
        done = project.run(*words, "--yes")
    assert done.code == ExitCode.OK, (words, done)


def test_the_commands_of_the_pages_are_many() -> None:
    """The blocks are found, and most groups are in them."""
    named = [words for each in BLOCKS for words in commands(str(each.values[1]))]
    assert len(named) > 60
    groups = {name.split()[0] for name in COMMANDS} - {"help", "init-migrations"}
    assert groups <= {word for words in named for word in words}

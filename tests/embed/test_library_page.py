"""Each block of ``docs/library.md`` runs."""

import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from loguru import logger as host_logger

from clarinet_cli import api
from tests.embed.hosts import run
from tests.mapping.applications import SCHEMAS

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What the blocks of Python define, run in order beside the documented application's file."""
    with closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        connection.executescript((SCHEMAS / "official-sqlite.sql").read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    defined: dict[str, Any] = {"__name__": "page"}
    for language, block in BLOCK.findall(PAGE.read_text("utf-8")):
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), defined)  # noqa: S102 - the page itself
    host_logger.disable("clarinet_cli")
    return defined


def test_the_library_does_what_the_page_shows(
    page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Both accounts of the example exist afterwards."""
    settings = page["settings"]
    assert isinstance(settings, api.Settings)
    assert page["shop"].table_mapping.users == "users"


def test_the_accounts_of_the_page_exist(page: dict[str, Any], tmp_path: Path) -> None:
    """The example has created them in the application's table."""
    with closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        rows = connection.execute('SELECT email, is_superuser FROM "user" ORDER BY 1').fetchall()
    assert rows == [("ada@example.org", 1), ("bob@example.org", 0)]


async def test_the_endpoint_answers(page: dict[str, Any]) -> None:
    """It is an application of FastAPI."""
    transport = httpx.ASGITransport(page["api"])
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        done = await client.post("/admin/users/bob@example.org/logout")
        missing = await client.post("/admin/users/nobody@example.org/logout")
    assert (done.status_code, done.json()["result"]) == (200, "unchanged")
    assert missing.status_code == 404


def test_the_commands_run(page: dict[str, Any]) -> None:
    """Each line of the console, in order."""
    (console,) = [
        block for language, block in BLOCK.findall(PAGE.read_text("utf-8")) if language == "console"
    ]
    lines = console.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.startswith("$ myapp ")
        result = run(page["cli"], *shlex.split(line)[2:])
        assert result.code == 0, (line, result)
    assert run(page["staging"], "--database-url", "sqlite:///test.db", "users", "list").code == 0
    assert isinstance(page["cli"], typer.Typer)


def test_the_table_of_functions_is_complete(page: dict[str, Any]) -> None:
    """Every public coroutine function is in the table, with its arguments in their order."""
    text = PAGE.read_text("utf-8")
    for name in api.__all__:
        function: Any = getattr(api, name)
        if not getattr(function, "__code__", None) or name in ("make_settings", "load_settings"):
            continue
        (listed,) = re.findall(rf"^\| `{name}\((.*?)\)` \|", text, re.MULTILINE)
        names = [part.split("=")[0] for part in re.split(r", (?!\))", listed)]
        code = function.__code__
        known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        optional = {"dry_run", "settle_seconds"}
        assert names == [item for item in known if item not in optional], name

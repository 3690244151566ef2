"""What a mounted command leaves as it was: the process belongs to another program."""

import asyncio
import contextlib
import gc
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger as host_logger

from tests.embed.hosts import host_of, settings_of
from tests.mapping.applications import BOB, Application
from tests.support import process_environment, replaced_environment

COMMANDS = (
    ("users", "list", "--all", "-o", "json"),
    ("users", "promote", BOB),
    ("users", "-vv", "show", "nobody@example.org"),
    ("users", "--color", "blue", "list"),
    ("logins", "cleanup"),
    ("logins", "revoke-all"),
    ("logins", "--help"),
    ("logins",),
)
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that the program has made current."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


def state() -> dict[str, Any]:
    """Return what a command of the tool changes in a process of its own."""
    loggers = {
        name: (found.level, found.handlers[:], found.propagate)
        for name, found in logging.root.manager.loggerDict.items()
        if isinstance(found, logging.Logger) and not name.startswith("asyncio.")
    }
    return {
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "loop": asyncio.get_event_loop_policy().get_event_loop(),
        "policy": asyncio.get_event_loop_policy(),
        "streams": [
            (stream, stream.encoding, stream.errors) for stream in (sys.stdout, sys.stderr)
        ],
        "stdin": sys.stdin,
        "warnings": (warnings.filters[:], warnings.showwarning),
        "root": (logging.root.level, logging.root.handlers[:]),
        "loggers": loggers,
        "loguru": dict(host_logger._core.handlers),  # type: ignore[attr-defined]  # not typed
        "environment": dict(os.environ),
        "directory": Path.cwd(),
        "garbage": gc.isenabled(),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_the_state_of_the_process_is_as_before(
    shop: Application,
    loop: asyncio.AbstractEventLoop,
    words: tuple[str, ...],
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the command succeeds, fails, or shows its help."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    host = host_of(settings_of(shop.project))
    with replaced_environment({}):
        host(words, standalone_mode=False)  # whose libraries are loaded afterwards
        before = state()
        host(words, standalone_mode=False)
        assert state() == before


def test_output_that_the_program_collects_is_whole(shop: Application) -> None:
    """A text in memory in place of standard output has no encoding."""
    collected = io.StringIO()
    with replaced_environment({}), contextlib.redirect_stdout(collected):
        host_of(settings_of(shop.project))(
            ["users", "list", "--all", "-o", "plain"], standalone_mode=False
        )
    assert BOB in collected.getvalue()


def test_records_go_to_standard_error_and_not_to_the_sinks_of_the_program(
    shop: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -v the command shows its own records once; the program's log has none."""
    heard: list[str] = []
    sink = host_logger.add(heard.append, level=0)
    host_logger.enable("clarinet_cli")
    try:
        with replaced_environment({}):
            host_of(settings_of(shop.project))(
                ["users", "-v", "promote", BOB], standalone_mode=False
            )
    finally:
        host_logger.disable("clarinet_cli")
        host_logger.remove(sink)
    assert capsys.readouterr().err.count("admin promote took") == 1
    assert heard == []


def run_script(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env=process_environment({}),
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("module", ["clarinet_cli.api", "clarinet_cli.embed"])
def test_an_import_changes_nothing(module: str, tmp_path: Path) -> None:
    """Loguru's default sink, signals and warnings are as before; no file is read or written."""
    script = (
        "import logging, signal, sys, warnings\n"
        "from loguru import logger\n"
        "def state(): return (dict(logger._core.handlers), logging.root.handlers[:],"
        " logging.root.level, signal.getsignal(2), signal.getsignal(15), sys.stderr,"
        " warnings.showwarning)\n"
        "before = state()\n"
        f"import {module}\n"
        "assert state() == before\n"
        "logger.info('mine')\n"
    )
    done = run_script(script, tmp_path)
    assert "mine" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("enabled", [False, True])
def test_the_library_logs_to_loguru_when_it_is_enabled(shop: Application, enabled: bool) -> None:
    """Each change is a record with the place where it was logged; by default none is shown."""
    url = settings_of(shop.project).database_url
    script = (
        "import asyncio, sys\n"
        "from loguru import logger\n"
        "logger.remove(); logger.add(sys.stdout, format='{name} {message}', level='INFO')\n"
        "from clarinet_cli.api import make_settings, set_superuser\n"
        f"{'logger.enable' if enabled else '#'}('clarinet_cli')\n"
        f"settings = make_settings({url.get_secret_value() if url else ''!r},"
        " mapping='fastapi-users', session_strategy='jwt')\n"
        f"asyncio.run(set_superuser(settings, {BOB!r}, superuser=True))\n"
    )
    done = run_script(script, shop.project.directory)
    assert done.stderr == ""
    if not enabled:
        assert done.stdout == ""
        return
    assert done.stdout.startswith("clarinet_cli.services.audit audit: ")
    assert str(shop.ids[BOB]) in done.stdout

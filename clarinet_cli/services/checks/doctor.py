"""``doctor``: checks run concurrently; the failure of one does not stop the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Optional

from clarinet_cli.exceptions import INVALID, ClarinetError, traceback_without_values
from clarinet_cli.results import CheckRow, Finding
from clarinet_cli.services.checks import (
    accounts,
    connection,
    files,
    schema,
    sessions,
    space,
)
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.configuration import CHECKS as SETTINGS_CHECKS
from clarinet_cli.services.configuration import check_settings
from clarinet_cli.services.mapped import application_hint
from clarinet_cli.services.unit_of_work import open_database
from clarinet_cli.settings import load_settings
from clarinet_cli.types import Capabilities, CheckGroup
from clarinet_cli.utils.logger import logger

CHECKS: Final = (
    *files.CHECKS,
    *connection.CHECKS,
    *schema.CHECKS,
    *accounts.CHECKS,
    *sessions.CHECKS,
    *space.CHECKS,
)
GATES: Final = (connection.REACHABLE, schema.MAPPING)  # the other checks of the database need them
CHECK_SECONDS: Final = 10.0
MAX_CONCURRENT: Final = 5  # checks, each with a connection
SETTINGS = "values"


def list_checks() -> list[CheckRow]:
    """Return all checks, in the order in which they are reported."""
    own, rows = Capabilities(), []
    for check in CHECKS:
        only = ""
        if not check.applies(own):
            only = " (only for applications)"
        elif not check.applies(replace(own, own_schema=False)):
            only = " (only for the tables of Clarinet)"
        rows.append(CheckRow(check.name, check.group.value, f"{check.description}{only}"))
    return rows


def selected_checks(only: Sequence[CheckGroup] = (), skip: Sequence[str] = ()) -> list[Check]:
    """Return the selected checks.

    Args:
        only: Select the checks of these groups; all when empty.
        skip: The names of checks to leave out.

    Raises:
        InvalidInputError: A name is unknown.
    """
    names = {check.name for check in CHECKS}
    if unknown := [name for name in skip if name not in names]:
        raise INVALID.with_context(
            f"unknown check {unknown[0]!r}", hint="'clarinet doctor --list' lists the checks"
        )
    return [
        check
        for check in CHECKS
        if (not only or check.group in only) and check.name not in set(skip)
    ]


async def run_checks(project: Path, checks: Sequence[Check]) -> list[Finding]:
    """Run checks concurrently, and return their findings.

    Settings that cannot be used, and a database that cannot be reached, are findings; the checks
    that need them are then skipped, which the finding reports.

    Args:
        project: The directory of the settings files.
        checks: The checks to run.
    """
    try:
        settings = load_settings(project)
    except ClarinetError as error:
        logger.debug(f"doctor: {error.message}")
        wanted = {check.name for check in checks}
        found = [item for item in check_settings(project) if item.check in wanted]
        left_out = len(wanted - set(SETTINGS_CHECKS))
        if not any(item.status == "error" for item in found):
            found.append(Finding(SETTINGS, "error", error.message, error.hint))
        index = next(index for index, item in enumerate(found) if item.status == "error")
        if left_out:
            text = f"{found[index].detail}; {left_out} checks that need the settings were skipped"
            found[index] = Finding(found[index].check, "error", text, found[index].hint)
        return found
    async with open_database(settings) as database:
        return await _run_checks(DoctorContext(project, database), checks)


async def _run_checks(context: DoctorContext, checks: Sequence[Check]) -> list[Finding]:
    slots, capabilities = asyncio.Semaphore(MAX_CONCURRENT), context.settings.capabilities
    checks = [check for check in checks if check.applies(capabilities)]
    asking = [check for check in checks if check.needs_database]
    gates: dict[str, list[Finding]] = {}
    failed: Optional[str] = None
    for gate in (gate for gate in GATES if asking and gate.applies(capabilities)):
        gates[gate.name] = await _findings(gate, context, slots)
        if any(item.status == "error" for item in gates[gate.name]):
            failed = gate.name
            break
    to_run = [
        check
        for check in checks
        if check not in GATES and (failed is None or not check.needs_database)
    ]
    done = await asyncio.gather(
        *(_findings(check, context, slots) for check in to_run), return_exceptions=True
    )
    found = dict(zip((check.name for check in to_run), map(_expected, to_run, done), strict=True))
    left_out = sum(check.name not in gates for check in asking)
    if failed is not None and left_out:
        more = f"; {left_out} checks of the database were skipped"
        gates[failed] = [replace(item, detail=item.detail + more) for item in gates[failed]]
    wanted = {check.name for check in checks} | {failed}
    found |= {name: items for name, items in gates.items() if name in wanted}
    return [item for check in CHECKS for item in found.get(check.name, ())]


async def _findings(
    check: Check, context: DoctorContext, slots: asyncio.Semaphore
) -> list[Finding]:
    """Run one check; a failure or a timeout is a finding."""
    try:
        async with slots, asyncio.timeout(CHECK_SECONDS):
            problems = await check.run(context)
    except TimeoutError:
        logger.debug(f"doctor: {check.name}: no answer in {CHECK_SECONDS:g} s")
        problems = [Problem("warning", f"not checked: no answer in {CHECK_SECONDS:g} s")]
    except ClarinetError as error:
        logger.debug(f"doctor: {check.name}: {error.message}")
        text = error.message if check in GATES else f"not checked: {error.message}"
        problems = [Problem("error", text, error.hint)]
    except OSError as error:
        logger.debug(f"doctor: {check.name}: {error}")
        prefix = f"{error.filename}: " if error.filename else ""
        problems = [Problem("error", f"not checked: {prefix}{error.strerror}")]
    problems = problems or [Problem("ok", check.description)]
    return [
        Finding(check.name, status, text, application_hint(context.settings, hint))
        for status, text, hint in problems
    ]


def _expected(check: Check, done: list[Finding] | BaseException) -> list[Finding]:
    """Return the findings of a check, or one that says that the check itself failed."""
    if isinstance(done, list):
        return done
    if not isinstance(done, Exception):
        raise done
    logger.bind(reported=True).error(f"{check.name}\n{traceback_without_values(done)}")
    text = f"not checked: unexpected {type(done).__name__}"
    return [Finding(check.name, "error", text, "'clarinet -vv doctor' shows the traceback")]

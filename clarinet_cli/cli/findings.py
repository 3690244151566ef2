"""The findings of a check and its exit code."""

from collections.abc import Sequence
from typing import Optional

from clarinet_cli.cli.render import Listing, render_list, shows_table
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import printable
from clarinet_cli.exceptions import CHECK_FAILED
from clarinet_cli.results import Finding
from clarinet_cli.types import OutputFormat

TERMINAL_COLUMNS = ("check", "status", "detail")


def render_findings(
    runtime: Runtime,
    findings: Sequence[Finding],
    output: Optional[OutputFormat],
    *,
    strict: bool = False,
) -> None:
    """Write the findings of a check, and end with 6 when one is an error.

    Args:
        runtime: The context of the run.
        findings: Those of all checks, also of those that found nothing.
        output: As in ``render``.
        strict: A warning counts as an error.

    Raises:
        CheckFailedError: A finding counts.
    """
    hints = [(finding.check, finding.hint) for finding in findings if finding.hint]
    render_list(runtime, findings, output, Listing(Finding, columns=TERMINAL_COLUMNS))
    if hints and shows_table(runtime, output):
        # Outside of the table, where no line is wrapped: a command can be copied.
        longest = max(len(check) for check, _ in hints)
        lines = [f"{check:{longest}}  {printable(hint)}\n" for check, hint in hints]
        runtime.writer.write(["\n", *lines], data=False)
    errors, warnings = (
        sum(finding.status == status for finding in findings) for status in ("error", "warning")
    )
    if errors or (strict and warnings):
        raise CHECK_FAILED.with_context(
            f"found {_number(errors, 'error')}, {_number(warnings, 'warning')}"
        )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

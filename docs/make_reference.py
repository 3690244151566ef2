"""Write ``docs/reference.md`` from the command line's own help.

``make reference`` runs this; a test fails when the file is not what the program says.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from clarinet_cli.cli.app import app
from clarinet_cli.cli.commands import GROUPS
from clarinet_cli.exceptions import ExitCode

REFERENCE = Path(__file__).parent / "reference.md"
INTRODUCTION = """\
# Reference

Made from the program's own help by `make reference`; don't edit it by hand.

Root options stand before the group: `clarinet -C /srv/clarinet session stats`.
"""
VALUES = """\
## Values

| value | form |
| --- | --- |
| TIME | A number with a unit: `500ms`, `90s`, `15m`, `12h`, `30d`, `2w`; a fraction as `1.5h` \
too. A bare number is seconds, in every option and in `CLARINET_SETTLE`. A year at most. Settings \
are whole numbers of the unit in their name; `session_cleanup_interval` is in seconds. |
| TIME of `--older-than` and `--idle-for` | The same, or a timestamp: `2026-11-22`, \
`2026-11-22T18:00Z`, `2026-11-22T18:00+03:00`; without a zone it is UTC. |
| ADDRESS of `--ip` | An IPv4 or IPv6 address, or a network: `203.0.113.0/24`, `2001:db8::/32`. An \
IPv4 network includes its IPv4-mapped IPv6 addresses. |
| STATE | `active`, `idle`, `expired`, `blocked` or `invalid`; several are separated by commas. |
"""
ENVIRONMENT = """\
## Environment variables

| variable | meaning |
| --- | --- |
| `CLARINET_PROJECT` | The project directory, as `-C`. |
| `CLARINET_OUTPUT` | The format of standard output, as `-o`; `-o` overrides it. |
| `CLARINET_SETTLE` | How long to wait for log-ins in progress, as `--settle`. |
| `CLARINET_SAFE_DIRECTORY` | Directories whose code is run whoever owns it, with colons between. |
| `CLARINET_DATABASE_HOST`, … | The setting of that name, whatever the files say. |
| `NO_COLOR`, `FORCE_COLOR`, `TERM` | Colour, where `--color` is `auto`. |
| `COLUMNS`, `LINES` | The size of the terminal, instead of its own. |
"""


def reference() -> str:
    """Return the reference of all commands as Markdown."""
    root = typer.main.get_command(app)
    context = root.make_context("clarinet", ["help", "exit-codes"])
    parts = [INTRODUCTION, _section(root, context, "clarinet")]
    for path, command, parent in _commands(root, context):
        parts.append(
            _section(
                command,
                command.make_context(path[-1], [], parent, resilient_parsing=True),
                " ".join(path),
            )
        )
    parts += [VALUES, ENVIRONMENT, _exit_codes()]
    return "\n".join(parts)


def _commands(root: Any, context: Any) -> Iterator[tuple[list[str], Any, Any]]:
    for name in sorted(root.list_commands(context), key=lambda item: (item not in GROUPS, item)):
        _, command, _ = root.resolve_command(context, [name])
        if name not in GROUPS:
            yield ["clarinet", name], command, context
            continue
        group = command.make_context(name, [], context, resilient_parsing=True)
        for inner in command.list_commands(group):
            yield ["clarinet", name, inner], command.get_command(group, inner), group


def _section(command: Any, context: Any, title: str) -> str:
    lines = [f"## {title}", "", _text(command.help or ""), ""]
    lines += ["```", context.get_usage().removeprefix("Usage: "), "```", ""]
    parameters = [
        item for item in command.get_params(context) if not getattr(item, "hidden", False)
    ]
    if parameters:
        lines += ["| option | default | meaning |", "| --- | --- | --- |"]
        lines += [_row(item, context) for item in parameters]
        lines.append("")
    return "\n".join(lines)


def _text(help_text: str) -> str:
    """Show the examples of a command as code."""
    lines = []
    for line in help_text.strip().splitlines():
        example = line.removeprefix("Example: ")
        lines.append(f"Example: `{example}`" if example != line else line)
    return "\n".join(lines)


def _row(parameter: Any, context: Any) -> str:
    record = parameter.get_help_record(context)
    names = record[0].replace("|", "\\|") if record else parameter.name
    default = (
        parameter.show_default if isinstance(parameter.show_default, str) else _default(parameter)
    )
    text = (parameter.help or "").replace("|", " or ")
    if parameter.envvar and parameter.show_envvar:
        text += f" Variable: `{parameter.envvar}`."
    return f"| `{names}` | {default} | {text} |"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value in (None, False, 0, "", ()):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _exit_codes() -> str:
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["## Exit codes", "", "| code | when |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{REFERENCE.name} written\n")

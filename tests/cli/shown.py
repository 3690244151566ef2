"""What a command shows, without what differs from run to run: for the snapshots."""

import re
from pathlib import Path

from tests.support import Project, Result

PACKAGE_ENVIRONMENT = str(Path(__file__).resolve().parents[2] / "alembic")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
PASSWORD = re.compile(r"(?<=password)(\s+|\t|\": \")[A-Za-z0-9]{24}\b")
BARE_PASSWORD = re.compile(r"\b[A-Za-z0-9]{24}\b")
SECONDS = re.compile(r"(\bseconds[ \t]+|\"seconds\": |after )\d+(\.\d+)?")
LIFE = re.compile(r"(_seconds\": )\d+\.\d+")
SIZE = re.compile(r"(size\s+|size_bytes\": )\d+(\.\d)?( [KM]iB)?")
VERSION = re.compile(r"(server[ _]version(\": \")?\s*)[0-9.]+[0-9]")
SERVER = re.compile(r"postgresql://[^/\s]*/<database>(\?\S*?)?(?=[\s:\",]|$)")
LINE = re.compile(r"─+")
GAP = re.compile(r"(?<=\S) {2,}")


def filtered(project: Project, result: Result) -> str:
    """Return a result as one text without what differs from run to run."""
    shown = f"exit code: {int(result.code)}\n"
    for name, stream in (("stdout", result.stdout), ("stderr", result.stderr)):
        shown += f"--- {name}\n{stream}"
    replacements: list[tuple[str | re.Pattern[str], str]] = [
        (re.escape(str(project.directory.resolve())), "<project>"),
        (re.escape(str(project.directory)), "<project>"),
        (re.escape(PACKAGE_ENVIRONMENT), "<package>/alembic"),
        (re.escape(project.database) if project.server else "(?!)", "<database>"),
        (SERVER, "<server>/<database>"),
        (UUID, "<uuid>"),
        (INSTANT, "<time>"),
        (PASSWORD, r"\1<password>"),
        (BARE_PASSWORD, "<password>"),
        (LIFE, r"\1<seconds>"),
        (SECONDS, r"\1<seconds>"),
        (SIZE, r"\1<size>"),
        (VERSION, r"\1<version>"),
        (LINE, "─"),
        (GAP, "  "),
        (re.compile(r"[ \t]+$", re.MULTILINE), ""),
    ]
    for pattern, replacement in replacements:
        shown = re.sub(pattern, replacement, shown)
    return shown


def shown_in_turn(project: Project, lines: list[str]) -> str:
    """Run each line and return all that is shown."""
    parts = [
        f"$ clarinet {line}\n{filtered(project, project.run(*line.split()))}" for line in lines
    ]
    return "\n".join(parts)

"""Findings about invalid rows."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from shlex import quote
from typing import Final, NamedTuple, Optional

from clarinet_cli.repositories.row_flaws import (
    IDS_SHOWN,
    MIN_TOKEN_LENGTH,
    FlawedRows,
    FlawKind,
)
from clarinet_cli.results import Finding
from clarinet_cli.textfmt import pluralize

ORPHAN_HINTS: Final = {
    "userroleslink.user_id": "DELETE FROM userroleslink WHERE user_id NOT IN "
    '(SELECT id FROM "user")',
    "userroleslink.role_name": "DELETE FROM userroleslink WHERE role_name NOT IN "
    "(SELECT name FROM userrole)",
}


class _Words(NamedTuple):
    """The texts for a kind of flaw.

    Attributes:
        passed: The finding if no row has it.
        fact: Describes the rows that have it.
        consequence: The consequence.
    """

    passed: str
    fact: str
    consequence: str


WORDS: Final[dict[FlawKind, _Words]] = {
    "nulls": _Words(
        "no value is missing",
        "without a value",
        "the server fails on such rows",
    ),
    "values": _Words(
        "each value is of the type of its column",
        "with a value of the wrong type",
        "the server fails on such rows",
    ),
    "ids": _Words(
        "each id is {form}",
        "with an id that is not {form}",
        "the server does not find such rows",
    ),
    "timestamps": _Words(
        "every timestamp can be parsed",
        "with a timestamp that the server cannot read",
        "such sessions are never cleaned up",
    ),
    "tokens": _Words(
        f"each token has {MIN_TOKEN_LENGTH} or more characters",
        f"with a token of fewer than {MIN_TOKEN_LENGTH} characters",
        "such tokens can be guessed",
    ),
    "orphans": _Words(
        "each session and assigned role has its account, and each assigned role exists",
        "with a dangling reference",
        "the server ignores such rows",
    ),
}


def merge_flaws(found: Iterable[FlawedRows]) -> list[FlawedRows]:
    """Return the same flaws of several parts of a table as one.

    Args:
        found: The flaws of each part.
    """
    sums: dict[tuple[FlawKind, str], FlawedRows] = {}
    for item in found:
        new = FlawedRows(item.kind, item.column, of_sessions=item.of_sessions)
        same = sums.setdefault((item.kind, item.column), new)
        same.count += item.count
        same.ids = (same.ids + item.ids)[:IDS_SHOWN]
    return list(sums.values())


def flaw_findings(
    found: Iterable[FlawedRows], kinds: Collection[FlawKind], id_form: str
) -> list[Finding]:
    """Return a finding for each flaw, and one for each kind that no row has.

    Args:
        found: The flaws.
        kinds: The kinds that were checked.
        id_form: The form of an id, in words.
    """
    found = list(found)
    findings = []
    for kind in (kind for kind in WORDS if kind in kinds):
        words = WORDS[kind]
        of_kind = [item for item in found if item.kind == kind]
        for item in of_kind:
            text = f"{item.column}: {pluralize(item.count, 'row')} "
            text += f"{words.fact.format(form=id_form)}: {join_ids(item.ids, item.count)}; "
            hint = _remedy(item) or "correct these rows with 'clarinet db shell'"
            findings.append(Finding(kind, "error", f"{text}{words.consequence}", hint))
        if not of_kind:
            findings.append(Finding(kind, "ok", words.passed.format(form=id_form)))
    return findings


def duplicate_address_findings(groups: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """Yield a finding for accounts whose addresses the server treats as equal.

    Args:
        groups: The ids of the accounts of each such address.
    """
    if not groups:
        yield Finding("addresses", "ok", "no two addresses are the same for the server")
        return
    ids = [user_id for group in groups for user_id in group]
    number = "address" if len(groups) == 1 else "addresses"
    yield Finding(
        "addresses",
        "error",
        f"{len(groups)} {number} shared by several accounts, since the server ignores case: "
        f"{join_ids(ids, len(ids))}; log-ins with a shared address fail",
        "compare them with 'clarinet admin show ID', and delete the unused one with "
        "'clarinet admin delete ID'",
    )


def join_ids(ids: Sequence[str], count: int) -> str:
    """Return up to five ids, and dots for the others.

    Args:
        ids: The first ones.
        count: How many there are.
    """
    return ", ".join(ids[:IDS_SHOWN]) + (", …" if count > IDS_SHOWN else "")


def _remedy(item: FlawedRows) -> Optional[str]:
    """Return the command that removes such rows, if they contain no valid data."""
    if item.kind == "tokens":
        table, _, column = item.column.rpartition(".")
        statement = f"DELETE FROM {table} WHERE length({column}) < {MIN_TOKEN_LENGTH}"  # noqa: S608 - shown, not run
        return f"clarinet db shell -c {quote(statement)}"
    if item.kind == "orphans" and item.column in ORPHAN_HINTS:
        return f"clarinet db shell -c {quote(ORPHAN_HINTS[item.column])}"
    if item.of_sessions and not any(" " in name for name in item.ids):
        return f"clarinet session revoke {' '.join(map(quote, item.ids))}"
    return None

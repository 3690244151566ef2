"""``db inspect``: reading the catalogue, and writing the mapping into a settings file."""

from dataclasses import replace

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.repositories.catalogue import read_catalogue
from clarinet_cli.results import Inspection
from clarinet_cli.services.inspection.proposal import Proposal, propose_mapping
from clarinet_cli.services.inspection.settings_file import mapping_text, write_mapping
from clarinet_cli.services.unit_of_work import UnitOfWork
from clarinet_cli.settings import Settings

SETTINGS_FILE = "settings.toml"
OWN = 'mapping = "clarinet"'
ANSWERS_HINT = "CLARINET_SESSION_STRATEGY and CLARINET_SESSION_LIFETIME_SECONDS answer in a script"
TABLE_HINT = "write the table [mapping] into settings.toml; the keys are in docs/reference.md"


async def inspect_database(work: UnitOfWork) -> Proposal:
    """Return the mapping that the database's catalogue suggests; no row is read.

    Args:
        work: A unit of work; ``session_strategy`` and ``session_lifetime_seconds`` of its
            settings are what the catalogue does not show.
    """
    tables = await read_catalogue(work.session)
    mapping = work.settings.table_mapping
    given = work.settings if mapping is None else mapping
    return propose_mapping(tables).with_answers(
        given.session_strategy, given.session_lifetime_seconds
    )


def describe(proposal: Proposal, result: str = "proposed") -> Inspection:
    """Return a proposal as it is shown."""
    values = proposal.values
    users, tokens = values.get("users"), values.get("tokens")
    prefix = f"{values['schema']}." if "schema" in values else ""
    return Inspection(
        result,
        users and f"{prefix}{users}",
        f"{prefix}{tokens}" if tokens else None,
        values.get("id_form"),
        values.get("roles", "none"),
        proposal.session_strategy,
        proposal.session_lifetime_seconds,
        proposal.found,
        proposal.uncertain,
        settings=mapping_text(proposal.keys) if values else OWN if proposal.own else None,
    )


def write_proposal(settings: Settings, proposal: Proposal, *, force: bool) -> Inspection:
    """Put a mapping into the project's ``settings.toml``.

    Args:
        settings: Which project.
        proposal: The mapping.
        force: Replace another mapping, also in a file of another user.

    Raises:
        RefusedError: Something has to be known first; the message names it. Or the file belongs
            to another user.
        ConflictError: The file has another mapping.
        ClarinetError: The file can't be written.
    """
    if proposal.unknown:
        is_asked = proposal.lacks_strategy or proposal.lacks_lifetime
        raise REFUSED.with_context(
            f"uncertain, nothing was written: {'; '.join(proposal.unknown)}",
            hint=ANSWERS_HINT if is_asked else TABLE_HINT,
        )
    path = settings.project_dir / SETTINGS_FILE
    changed = write_mapping(path, None if proposal.own else proposal.keys, force=force)
    described = describe(proposal, "written" if changed else "unchanged")
    return replace(described, path=str(path))

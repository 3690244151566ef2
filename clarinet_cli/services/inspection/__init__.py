"""Proposing a mapping from the catalogue of an application's database."""

from clarinet_cli.services.inspection.builder import propose_mapping
from clarinet_cli.services.inspection.proposal import Proposal
from clarinet_cli.services.inspection.service import (
    describe,
    inspect_database,
    write_proposal,
)

__all__ = ["Proposal", "describe", "inspect_database", "propose_mapping", "write_proposal"]

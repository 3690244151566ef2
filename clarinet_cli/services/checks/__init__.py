"""Checks of a database: of all it holds (``db check``), and of what surrounds it (``doctor``)."""

from clarinet_cli.services.checks.contents import check_database

__all__ = ["check_database"]

"""The checks of ``db check`` (the contents) and of ``doctor`` (the installation)."""

from clarinet_cli.services.checks.contents import check_database

__all__ = ["check_database"]

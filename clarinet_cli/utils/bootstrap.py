"""Initialise a database, for other Python programs."""

from clarinet_cli.utils.admin import ensure_admin_exists as create_admin_user

__all__ = ["create_admin_user"]

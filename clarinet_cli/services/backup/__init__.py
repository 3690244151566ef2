"""Backups of the database: made beside a running server, verified, and restored."""

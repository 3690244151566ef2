"""Backups of the database: made while a server runs, verified, and restored."""

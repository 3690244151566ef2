"""Administer the user database of a Clarinet deployment from the command line."""

__version__ = "0.2.0"

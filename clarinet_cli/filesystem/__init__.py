"""Owners and permissions of the files that the tool reads and writes."""

"""The commands in another program's own command, and the library."""

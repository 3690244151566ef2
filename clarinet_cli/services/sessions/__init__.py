"""Log-in sessions: list, count, revoke."""

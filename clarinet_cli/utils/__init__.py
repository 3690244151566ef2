"""Entry points for other Python programs: logger, database, admin, bootstrap."""

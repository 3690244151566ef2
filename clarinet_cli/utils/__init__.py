"""Entry points with fixed names: logger, database, admin, bootstrap."""

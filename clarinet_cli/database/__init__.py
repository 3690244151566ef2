"""Database access: URL, engine, transactions, and translation of the driver's errors."""

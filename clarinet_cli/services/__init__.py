"""The rules: what may happen to accounts, sessions and the schema."""

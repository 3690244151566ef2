"""Business logic for accounts, sessions and the schema."""

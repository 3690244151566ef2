"""The command line: parsing, prompts and rendering; no SQL and no rules."""

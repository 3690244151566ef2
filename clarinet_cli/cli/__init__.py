"""Words in, words out: parsing, prompts and rendering; no SQL and no rules."""

"""Files that the tool reads and writes: whose they are, and whether to trust them."""

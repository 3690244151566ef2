"""How long a test waits for what should happen at once: only a failure takes that long."""

import os

PATIENCE_SECONDS = float(os.environ.get("CLARINET_TEST_PATIENCE", "60"))

"""Sessions on the configured database, for other Python programs."""

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_async_session

__all__ = ["Access", "get_async_session"]

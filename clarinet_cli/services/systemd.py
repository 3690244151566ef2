"""Service notifications to systemd, as sd_notify(3) describes them."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Optional, Self

from clarinet_cli.utils.logger import logger

MICROSECONDS = 1_000_000


@dataclass(slots=True)
class Notifier:
    """Sends the state of this process to the service manager that started it, if any.

    The watchdog is notified from the event loop at half its interval, so a blocked loop
    counts as a hung service.

    Attributes:
        address: Path of the datagram socket; an abstract one begins with ``@``. None: there
            is no service manager, and nothing is sent.
        watchdog_seconds: The watchdog's interval in seconds; None: no watchdog.
    """

    address: Optional[str] = None
    watchdog_seconds: Optional[float] = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the notifier that the environment describes.

        Args:
            environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read.
        """
        address = environment.get("NOTIFY_SOCKET") or None
        microseconds = environment.get("WATCHDOG_USEC", "")
        for_this_process = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = for_this_process and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / MICROSECONDS if watched else None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send READY, then the watchdog's keep-alives while the block runs, then STOPPING."""
        self.notify(READY="1")
        keep_alive = asyncio.create_task(self._keep_alive())
        try:
            yield
        finally:
            self.notify(STOPPING="1")
            keep_alive.cancel()

    def notify(self, **fields: str) -> None:
        """Send fields such as ``STATUS``; a failure to send is logged as a warning."""
        if self.address is None:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        text = "".join(f"{name}={' '.join(value.split())}\n" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.sendall(text.encode())
        except OSError as error:
            logger.warning(f"NOTIFY_SOCKET {self.address}: {error.strerror or error}")

    async def _keep_alive(self) -> None:
        while self.address and self.watchdog_seconds:
            self.notify(WATCHDOG="1")
            await asyncio.sleep(self.watchdog_seconds / 2)

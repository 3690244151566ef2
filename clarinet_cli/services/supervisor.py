"""What systemd is told by datagrams, as sd_notify(3) describes them."""

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
class Supervisor:
    """The supervisor that started this process, or nobody.

    It hears of the service's life at half the interval of its watchdog, from the event loop:
    a loop that hangs is silent.

    Attributes:
        address: The socket; one that begins with ``@`` is abstract. None: nobody listens.
        watchdog_seconds: After so long a silence the supervisor ends the process.
    """

    address: Optional[str] = None
    watchdog_seconds: Optional[float] = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return who the environment names.

        Args:
            environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read.
        """
        address = environment.get("NOTIFY_SOCKET") or None
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = ours and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / MICROSECONDS if watched else None)

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """Tell that the service is ready, that it is alive, and at the end that it stops."""
        self.tell(READY="1")
        watch = asyncio.create_task(self._tell_of_life())
        try:
            yield
        finally:
            self.tell(STOPPING="1")
            watch.cancel()

    def tell(self, **fields: str) -> None:
        """Send fields such as ``STATUS``; what can't be sent is a warning in the log."""
        if self.address is None:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        text = "".join(f"{name}={' '.join(value.split())}\n" for name, value in fields.items())
        try:
            _send(address, text.encode())
        except OSError as error:
            logger.warning(f"NOTIFY_SOCKET {self.address}: {error.strerror or error}")

    async def _tell_of_life(self) -> None:
        while self.address and self.watchdog_seconds:
            self.tell(WATCHDOG="1")
            await asyncio.sleep(self.watchdog_seconds / 2)


def _send(address: str, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall(content)

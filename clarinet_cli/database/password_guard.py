"""A guard that keeps passwords from servers that ask for them in a readable form."""

import asyncio
from collections.abc import Callable
from typing import Any, Optional

CLEAR_TEXT = "in clear text"
READABLE_FORMS = {3: CLEAR_TEXT, 5: "as an md5 hash"}  # PostgreSQL's manual, section 54.7
HEADER_BYTES = 5  # type (1 byte) and length (4 bytes, which include themselves)
AUTHENTICATION, READY = b"R", b"Z"
MIN_LENGTH = 4
MIN_LENGTHS = {AUTHENTICATION: 8}


class ReadablePasswordError(ConnectionError):
    """The server asks for the password in a form that is readable on the network.

    The password has not been sent.

    Args:
        form: The form.
    """

    def __init__(self, form: str) -> None:
        super().__init__(form)
        self.form = form


class GuardingLoop:
    """An event loop for the driver that puts a guard in front of its connections.

    Args:
        loop: The running event loop.
        refused: The forms in which the password is not sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, refused: set[str]) -> None:
        self._loop = loop
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the running loop."""
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *arguments: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect, with a guard that receives the server's messages before the driver."""

        def guarded() -> _PasswordGuard:
            return _PasswordGuard(factory(), self._refused)

        transport, guard = await self._loop.create_connection(guarded, *arguments, **options)
        return transport, guard.driver


class _PasswordGuard(asyncio.Protocol):
    """A protocol that checks the server's log-in messages before the driver receives them.

    Args:
        driver: The driver's protocol.
        refused: The forms in which the password is not sent.
    """

    def __init__(self, driver: asyncio.Protocol, refused: set[str]) -> None:
        self.driver = driver
        self._refused = refused
        self._unread = bytearray()
        self._transport: Any = None
        self._reason: Optional[ConnectionError] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the driver."""
        self._transport = transport
        self.driver.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass complete messages to the driver, until the server is ready for queries.

        Until then the driver answers any request for a password, even after a successful one.
        """
        self._unread += data
        while self._reason is None and (message := self._next_message()):
            form = READABLE_FORMS.get(int.from_bytes(message[HEADER_BYTES:9]))
            if message[:1] == AUTHENTICATION and form in self._refused:
                self._end(ReadablePasswordError(str(form)))
            elif message[:1] == READY:
                self._transport.set_protocol(self.driver)
                self.driver.data_received(message + self._unread)
                self._unread.clear()
            else:
                self.driver.data_received(message)

    def connection_lost(self, error: Optional[Exception]) -> None:
        """Notify the driver, with the guard's own error if there is one."""
        self.driver.connection_lost(self._reason or error)

    def eof_received(self) -> Optional[bool]:
        """Notify the driver."""
        return self.driver.eof_received()

    def pause_writing(self) -> None:
        """Notify the driver."""
        self.driver.pause_writing()

    def resume_writing(self) -> None:
        """Notify the driver."""
        self.driver.resume_writing()

    def _next_message(self) -> bytes:
        """Remove and return the next complete message, or return no bytes if there is none."""
        if len(self._unread) < HEADER_BYTES:
            return b""
        length = int.from_bytes(self._unread[1:HEADER_BYTES])
        if length < MIN_LENGTHS.get(bytes(self._unread[:1]), MIN_LENGTH):
            self._end(ConnectionError("not the protocol of a PostgreSQL server"))
            return b""
        if len(self._unread) <= length:
            return b""
        message = bytes(self._unread[: length + 1])
        del self._unread[: length + 1]
        return message

    def _end(self, reason: ConnectionError) -> None:
        self._reason = reason
        self._transport.abort()

"""A server that asks for a password and keeps what it is sent."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

from tests.tls import SSL_REQUEST

OK, CLEAR_TEXT, MD5, SASL = 0, 3, 5, 10
PARAMETER = b"S" + struct.pack("!i", 4 + len(b"a\0b\0")) + b"a\0b\0"


def asking(kind: int, rest: bytes = b"") -> bytes:
    """Return the message that asks for a password in a form."""
    return b"R" + struct.pack("!ii", 8 + len(rest), kind) + rest


def error_message(state: bytes) -> bytes:
    """Return the message that ends a log-in."""
    body = b"SFATAL\0VFATAL\0C" + state + b"\0Mno\0\0"
    return b"E" + struct.pack("!i", 4 + len(body)) + body


class Listener:
    """It has no TLS, and an answer to the log-in that its test gives.

    Args:
        answers: What it sends, each part by itself.
        unknown: A database that it says it does not have.
    """

    def __init__(self, answers: Sequence[bytes], *, unknown: str = "") -> None:
        self.answers = answers
        self.unknown = unknown
        self.received = b""
        self.connections = self.log_ins = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections."""
        self.listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(20)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = client.recv(8)
            if first == SSL_REQUEST:
                client.sendall(b"N")
                first = client.recv(8)
            if not first:  # a client that requires TLS disconnects
                return
            self.log_ins += 1
            begin = first + client.recv(65536)
            self.received += begin
            if self.unknown and f"database\0{self.unknown}\0".encode() in begin:
                client.sendall(error_message(b"3D000"))
                return
            for part in self.answers:
                client.sendall(part)
            self.received += client.recv(65536)
            client.sendall(error_message(b"28P01"))
            while data := client.recv(65536):
                self.received += data


@contextlib.contextmanager
def listening(*answers: bytes) -> Iterator[Listener]:
    """Listen for as long as a block runs."""
    listener = Listener(answers)
    try:
        yield listener
    finally:
        listener.stop()

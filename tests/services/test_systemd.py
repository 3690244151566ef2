"""The datagrams that the service manager receives."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from clarinet_cli.services.systemd import Notifier
from tests.patience import PATIENCE_SECONDS


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket as systemd opens one, and its address as NOTIFY_SOCKET has it."""
    name = f"@clarinet-{uuid4().hex}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        opened.settimeout(0)
        yield name, opened


def received(listener: socket.socket) -> list[str]:
    """Return all datagrams that have arrived."""
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


async def keep_alive(listener: socket.socket) -> None:
    """Wait for a datagram of the watchdog's."""
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(listener, 4096) != b"WATCHDOG=1\n":
        continue


async def test_a_service_is_ready_and_then_stops(listener: tuple[str, socket.socket]) -> None:
    """READY first, STATUS in one line, STOPPING last; a watchdog only if configured."""
    name, opened = listener
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})
    async with notifier.running():
        assert received(opened) == ["READY=1\n"]
        notifier.notify(STATUS="deleted 3\nof 4")
        await asyncio.sleep(0.05)
    assert received(opened) == ["STATUS=deleted 3 of 4\n", "STOPPING=1\n"]


async def test_the_watchdog_is_notified_twice_an_interval(
    listener: tuple[str, socket.socket],
) -> None:
    """WATCHDOG=1 is sent repeatedly while the loop runs, and not after its end."""
    name, opened = listener
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "40000"}
    async with Notifier.from_environment(environment).running():
        for _ in range(3):
            await asyncio.wait_for(keep_alive(opened), PATIENCE_SECONDS)
    received(opened)
    await asyncio.sleep(0.1)
    assert received(opened) == []


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_of_another_process_is_ignored(
    variables: dict[str, str], seconds: float | None
) -> None:
    """Only a positive interval that is meant for this process counts."""
    assert Notifier.from_environment(variables).watchdog_seconds == seconds


async def test_without_a_socket_nothing_is_sent() -> None:
    """Without NOTIFY_SOCKET nothing is sent, and nothing fails."""
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000"})
    async with notifier.running():
        notifier.notify(STATUS="hello")
        await asyncio.sleep(0.01)
    assert notifier.address is None


async def test_a_missing_socket_does_not_end_the_service(tmp_path: Path) -> None:
    """What cannot be sent is not the service's end."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    async with notifier.running():
        await asyncio.sleep(0)
    assert not (tmp_path / "gone").exists()

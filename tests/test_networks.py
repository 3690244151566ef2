"""Addresses and networks: parsing, and the comparison of each backend."""

import ipaddress
import random
from typing import Any, Optional

import pytest
from sqlalchemy import literal, select

from clarinet_cli.models.functions import in_network
from clarinet_cli.networks import network_forms, parse_network
from clarinet_cli.services.unit_of_work import unit_of_work
from tests.support import Project

PARSED = [
    ("203.0.113.7", "203.0.113.7/32"),
    (" 203.0.113.0/24 ", "203.0.113.0/24"),
    ("203.0.113.9/24", "203.0.113.0/24"),
    ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
    ("2001:DB8::1", "2001:db8::1/128"),
    ("2001:db8::/32", "2001:db8::/32"),
    ("fe80::1%eth0", "fe80::1/128"),
    ("::ffff:203.0.113.7", "203.0.113.7/32"),
    ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
    ("::ffff:0:0/95", "::fffe:0:0/95"),
    ("::/0", "::/0"),
]
STORED = [
    "203.0.113.7",
    "203.0.113.255",
    "203.0.114.1",
    "::ffff:203.0.113.7",
    "::FFFF:cb00:7107",
    "2001:DB8::1",
    "2001:db8:0:0:0:0:0:1",
    "fe80::1%eth0",
    "::",
    "::1",
    "1:2:3:4:5:6:7::",
    "1::3:4:5:6:7:8",
    "testclient",
    "",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "256.1.1.1",
    "1:2",
    ":::",
    "1::2::3",
    "12345::",
    "203.0.113.7, 10.0.0.1",
    "\u0661.2.3.4",
]
NETWORKS = ["203.0.113.0/24", "203.0.113.7", "2001:db8::/32", "fe80::1", "0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_an_address_or_network_is_parsed(text: str, expected: str) -> None:
    """In CIDR notation, without bits of the host, and without a zone."""
    assert parse_network(text) == expected


@pytest.mark.parametrize("text", ["", "nope", "10.0.0", "10.0.0.300", "1.2.3.4/33", "::/129", "/8"])
def test_what_is_neither_is_an_error(text: str) -> None:
    """A typing mistake must not be a network without sessions."""
    with pytest.raises(ValueError, match=r".*"):
        parse_network(text)


def expected_match(stored: Optional[str], network: str) -> bool:
    """Return whether a stored address is in a network, by Python's own module."""
    try:
        address: Any = ipaddress.ip_address((stored or "").partition("%")[0])
    except ValueError:
        return False
    found: Any = ipaddress.ip_network(network)
    mapped = getattr(address, "ipv4_mapped", None)
    return address in found or (mapped is not None and mapped in found)


def random_addresses(number: int) -> list[str]:
    """Return IPv6 addresses in every shortened form."""
    generator = random.Random(17)  # noqa: S311 - the same in each run
    found = []
    for _ in range(number):
        groups = [f"{generator.choice((0, 0, 1, 0xFFFF, 0xDB8)):x}" for _ in range(8)]
        start, end = sorted(generator.sample(range(9), 2))
        found.append(":".join(groups[:start]) + "::" + ":".join(groups[end:]))
        found.append(":".join(groups))
    return found


async def test_each_backend_compares_alike(project: Project) -> None:
    """As Python does, for addresses in every form; other texts match nothing and do not fail."""
    stored: list[Optional[str]] = [*STORED, *random_addresses(150), None]
    async with unit_of_work(project.settings) as work:
        for network in NETWORKS:
            forms = network_forms(network)
            for start in range(0, len(stored), 40):
                some = stored[start : start + 40]
                matches = [
                    in_network(literal(text), form).label(f"c{place}_{number}")
                    for place, text in enumerate(some)
                    for number, form in enumerate(forms)
                ]
                row = list((await work.session.execute(select(*matches))).one())
                found = [
                    any(row[place * len(forms) : (place + 1) * len(forms)])
                    for place in range(len(some))
                ]
                assert found == [expected_match(text, network) for text in some]

"""Parse and compare IP addresses and CIDR networks.

A dual-stack socket reports an IPv4 client as an IPv4-mapped IPv6 address (``::ffff:192.0.2.1``),
and a link-local address may have a zone (``fe80::1%eth0``). Both are compared by the address.
"""

import socket
from functools import lru_cache

MAPPED_PREFIX = "::ffff:"
MAPPED_BITS = 96  # of an IPv4-mapped address, before those of IPv4
IN_NETWORK_FUNCTION = "clarinet_in_network"  # the SQL function of each SQLite connection
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}([.]{_OCTET}){{3}}"
_GROUP = "[0-9a-fA-F]{1,4}"
_SHORTENED = "|".join(
    f"({_GROUP}:){{1,{before}}}(:{_GROUP}){{1,{7 - before}}}" for before in range(1, 7)
)
# What PostgreSQL's inet accepts for sure; a text in another form must not reach its parser.
ADDRESS_PATTERN = (
    f"^({_IPV4}|({_GROUP}:){{7}}{_GROUP}|{_SHORTENED}|({_GROUP}:){{1,7}}:"
    f"|:(:{_GROUP}){{1,7}}|::|::[fF]{{4}}:{_IPV4})$"
)


def parse_network(text: str) -> str:
    """Return a network in CIDR notation; an IPv4-mapped one as IPv4.

    Args:
        text: An address, or a network such as ``203.0.113.0/24``; bits of the host are ignored.

    Raises:
        ValueError: It is neither.
    """
    from ipaddress import IPv4Network, IPv6Network, ip_network

    address, slash, length = text.strip().partition("/")
    network = ip_network(f"{address.partition('%')[0]}{slash}{length}", strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            network = IPv4Network((mapped, network.prefixlen - MAPPED_BITS))
    return str(network)


def network_forms(network: str) -> list[str]:
    """Return a network in CIDR notation, and for IPv4 the network of its mapped addresses too."""
    found = parse_network(network)
    address, _, length = found.partition("/")
    mapped = f"{MAPPED_PREFIX}{address}/{MAPPED_BITS + int(length)}"
    return [found] if ":" in found else [found, mapped]


def is_in_network(address: str, network: str) -> bool:
    """Return whether an address is in a network; False for a text that is not an address.

    Args:
        address: The stored address.
        network: In CIDR notation.
    """
    plain = address.partition("%")[0].partition("/")[0]
    family, shift, prefix = _network(network)
    if (":" in plain) != (family is socket.AF_INET6):
        return False
    try:
        packed = socket.inet_pton(family, plain)  # ipaddress takes ten times as long
    except (OSError, ValueError):
        return False
    return int.from_bytes(packed) >> shift == prefix


@lru_cache(16)
def _network(text: str) -> tuple[socket.AddressFamily, int, int]:
    """Return the family of a network, the bits of its hosts, and its prefix as a number."""
    from ipaddress import ip_network

    network = ip_network(text)
    shift = network.max_prefixlen - network.prefixlen
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return family, shift, int(network.network_address) >> shift

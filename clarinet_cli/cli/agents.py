"""User agents in a few words, such as ``Firefox 131, macOS``."""

from functools import cache, lru_cache
from typing import Any

from clarinet_cli.cli.text import printable

MAX_LENGTH = 24  # characters of an agent that is not recognised
MAX_PARSED_LENGTH = 512  # as the server stores; the patterns take longer for longer text
FAMILIES = {
    "Mac OS X": "macOS",
    "Chrome Mobile": "Chrome",
    "Firefox Mobile": "Firefox",
    "Mobile Safari": "Safari",
    "Edge Mobile": "Edge",
}


@lru_cache(4096)
def describe_agent(agent: str) -> str:
    """Return program, major version and system of a user agent; else its beginning.

    Args:
        agent: The text of the header ``User-Agent``, untrusted.
    """
    found = _parser()(agent[:MAX_PARSED_LENGTH])
    program, system = found.user_agent, found.os
    if program is not None:
        name = FAMILIES.get(program.family, program.family)
        words = f"{name} {program.major}" if program.major else name
        return printable(
            f"{words}, {FAMILIES.get(system.family, system.family)}" if system else words
        )
    text = printable(agent)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


@cache
def _parser() -> Any:
    """Return the parser; compiling each pattern when it is first needed saves most of the time."""
    from ua_parser import Domain, Parser
    from ua_parser.basic import Resolver
    from ua_parser.loaders import load_lazy_builtins

    parser = Parser(Resolver(load_lazy_builtins()))
    return lambda agent: parser(agent, Domain.USER_AGENT | Domain.OS)

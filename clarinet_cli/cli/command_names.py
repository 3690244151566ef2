"""The names of mounted commands in messages that name those of ``clarinet``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# 'clarinet admin list', 'clarinet -q session cleanup', and 'admin apply' without the program.
COMMAND = re.compile(r"(?:\bclarinet((?: -\S+)*) |(?<='))(admin|session)(?= [a-z])")
NOT_MOUNTED = re.compile(r"\bclarinet [-a-z]|'(?:admin|session|db|migrate|config) [a-z]|'-C ")
CLAUSE = "; "


@dataclass(frozen=True, slots=True)
class CommandNames:
    """The names of the groups in the command of another program.

    Attributes:
        groups: The words that run a group, such as ``myapp users`` for ``admin``.
    """

    groups: Mapping[str, str]

    def rewrite(self, text: str) -> str:
        """Return a text with the names of the mounted commands."""

        def name(match: re.Match[str]) -> str:
            group = self.groups.get(match[2])
            return match[0] if group is None else f"{group}{match[1] or ''}"

        return COMMAND.sub(name, text)

    def rewrite_hint(self, hint: str) -> str:
        """Return a hint without the clauses that advise commands which are not mounted."""
        clauses = self.rewrite(hint).split(CLAUSE)
        return CLAUSE.join(clause for clause in clauses if not NOT_MOUNTED.search(clause))

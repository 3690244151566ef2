"""The durations of PostgreSQL's transactions, from the server's own log.

The server logs each statement of one database with its end and its duration
(``log_min_duration_statement = 0``), so a transaction lasts from the start of its ``BEGIN`` to
the end of its ``COMMIT``: nothing is sampled and no transaction is overlooked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LINE = re.compile(
    r"(?P<ended>\d+\.\d+) (?P<backend>\d+) LOG:  duration: (?P<ms>[\d.]+) ms"
    r"  (?:statement|execute [^:]*): (?P<statement>.*)"
)
# Statements end up in the log as they were sent; continued lines begin with a tab.
BEGIN = re.compile(r"(begin|start transaction)\b", re.IGNORECASE)
END = re.compile(r"(commit|end|rollback)\b", re.IGNORECASE)


@dataclass
class Transaction:
    """One transaction of one backend.

    Attributes:
        started: When its BEGIN started, in seconds.
        ended: When its COMMIT or ROLLBACK was done.
        text: All of its statements.
    """

    started: float
    ended: float = 0.0
    text: list[str] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """The duration."""
        return (self.ended - self.started) * 1000

    def does(self, word: str) -> bool:
        """Return whether one of its statements contains a word."""
        return any(word in text.lower() for text in self.text)


def transactions(lines: Iterable[str]) -> list[Transaction]:
    """Return the finished transactions in a log."""
    open_ones: dict[str, Transaction] = {}
    done = []
    last = None
    for line in lines:
        found = LINE.match(line)
        if found is None:
            if not line.startswith("\t"):
                last = None  # the head of another message, maybe of another backend
            elif last is not None:
                last.text.append(line.strip())
            continue
        ended, statement = float(found["ended"]), found["statement"]
        if BEGIN.match(statement):
            open_ones[found["backend"]] = Transaction(ended - float(found["ms"]) / 1000)
        last = open_ones.get(found["backend"])
        if last is not None and END.match(statement):
            last.ended = ended
            done.append(open_ones.pop(found["backend"]))
        elif last is not None:
            last.text.append(statement)
    return done


def longest(found: Iterable[Transaction]) -> float:
    """Return the milliseconds of the longest transaction; 0 without any."""
    return max((transaction.milliseconds for transaction in found), default=0.0)

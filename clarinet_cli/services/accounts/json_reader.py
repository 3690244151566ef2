"""JSON read with the position of each value."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object; ``offset`` is where its value begins."""

    name: str
    value: Any
    offset: int


class Members(list[Member]):
    """The members of one object; ``offset`` is where the object begins."""

    offset: int = 0


class JsonReader:
    """Reads a list of objects, or objects one after the other.

    Args:
        text: The document.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder()

    def locate(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, from 1."""
        line = bisect_left(self._ends, offset)
        start = self._ends[line - 1] + 1 if line else 0
        return line + 1, offset - start + 1

    def locate_error(self, error: Exception) -> tuple[int, int]:
        """Return the position of an error of ``objects``."""
        return self.locate(error.pos if isinstance(error, JSONDecodeError) else self.position)

    def objects(self) -> Iterator[Members]:
        """Yield the objects of the document.

        Raises:
            JSONDecodeError: It is not JSON, or contains something other than objects.
            ValueError: A number is too long.
            RecursionError: A value is nested too deeply.
        """
        if self._accept("["):
            yield from self._list()
        else:
            while not self._at_end():
                yield self._object()
        if not self._at_end():
            message = "extra data after the end"
            raise JSONDecodeError(message, self.text, self.position)

    def _list(self) -> Iterator[Members]:
        if self._accept("]"):
            return
        while True:
            yield self._object()
            if not self._accept(","):
                self._require("]")
                return

    def _object(self) -> Members:
        self._skip()
        members = Members()
        members.offset = self.position
        self._require("{")
        if self._accept("}"):
            return members
        while True:
            name, _ = self._value(str)
            self._require(":")
            value, offset = self._value()
            members.append(Member(name, value, offset))
            if not self._accept(","):
                self._require("}")
                return members

    def _value(self, kind: type = object) -> tuple[Any, int]:
        self._skip()
        offset = self.position
        value, self.position = self._decoder.raw_decode(self.text, offset)
        if not isinstance(value, kind):
            message = "a name in quotation marks is missing"
            raise JSONDecodeError(message, self.text, offset)
        return value, offset

    def _skip(self) -> None:
        match = SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def _accept(self, token: str) -> bool:
        """Consume a token if it comes next, and return whether it did."""
        self._skip()
        found = self.text.startswith(token, self.position)
        self.position += found
        return found

    def _require(self, token: str) -> None:
        if not self._accept(token):
            message = f"expected {token!r}"
            raise JSONDecodeError(message, self.text, self.position)

    def _at_end(self) -> bool:
        self._skip()
        return self.position >= len(self.text)

"""JSON lines in large numbers: what ``formats.as_json`` gives in one line, only faster.

The encoder of the standard library is set up anew for each document. Here the lines of many
rows are put together from their columns: one look tells whether a column needs no escapes at
all, and text that many rows have in common (an address, a user agent) is encoded once.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Optional

from clarinet_cli.cli.formats import plain_type
from clarinet_cli.cli.text import json_safe

REMEMBERED_TEXTS = 4096

_encode = json.JSONEncoder(default=plain_type, ensure_ascii=False).encode


def json_lines(names: Sequence[str], columns: Sequence[Sequence[Optional[str]]]) -> str:
    """Return a line for each row.

    Args:
        names: The names of the fields.
        columns: The values of each field.
    """
    parts, values = [], []
    for name, column in zip(names, columns, strict=True):
        plain = _is_plain(column)
        parts.append(f'"{name}": "%s"' if plain else f'"{name}": %s')
        values.append(column if plain else map(_text, column))
    line = "{" + ", ".join(parts) + "}\n"
    return "".join(map(line.__mod__, zip(*values, strict=True)))


def _is_plain(column: Sequence[Optional[str]]) -> bool:
    """Return whether all values are text that JSON carries as it is."""
    if set(map(type, column)) != {str}:
        return False
    text = "".join(map(str, column))
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


@lru_cache(REMEMBERED_TEXTS)
def _text(value: Optional[str]) -> str:
    return json_safe(_encode(value))

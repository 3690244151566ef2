"""JSON lines in large numbers: what ``formats.as_json`` gives in one line, only faster.

The encoder of the standard library is set up anew for each document, and asks back for each
instant and id. Here a line is put together from its values, and text that many rows have in
common (an address, a user agent) is encoded once.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from clarinet_cli.cli.formats import instant, plain_type
from clarinet_cli.cli.text import json_safe

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

REMEMBERED_TEXTS = 4096

_encode = json.JSONEncoder(default=plain_type, ensure_ascii=False).encode


@lru_cache(REMEMBERED_TEXTS)
def _text(value: str) -> str:
    return json_safe(_encode(value))


@lru_cache(REMEMBERED_TEXTS)
def _id(value: UUID) -> str:
    return f'"{value}"'


def _instant(value: datetime) -> str:
    return f'"{instant(value)}"'


_QUICK: dict[type, Callable[[Any], str]] = {
    str: _text,
    datetime: _instant,
    UUID: _id,
    type(None): lambda _: "null",
}


def json_lines(results: "Iterable[DataclassInstance]", row_type: type) -> str:
    """Return a line for each result.

    Args:
        results: Dataclasses of one type.
        row_type: That type; none of its fields may be left out.
    """
    names = [item.name for item in fields(row_type)]
    values_of = attrgetter(*names)
    form = "{{" + ", ".join(f'"{name}": {{}}' for name in names) + "}}\n"
    line, quick = form.format, _QUICK
    return "".join(
        [
            line(*[quick.get(type(value), _other)(value) for value in values_of(result)])
            for result in results
        ]
    )


def _other(value: object) -> str:
    return json_safe(_encode(value))

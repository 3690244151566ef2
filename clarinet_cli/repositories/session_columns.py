"""Rows of sessions as a driver returns them, turned into columns for a listing."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from clarinet_cli.instants import iso_text
from clarinet_cli.models.types import iso_texts
from clarinet_cli.results import SessionPage


def sqlite_page(rows: Sequence[Sequence[Any]]) -> SessionPage:
    """Return rows with the fields of ``SessionRow`` as SQLite stores them."""
    return _page(rows, _dashed, iso_texts)


def server_page(rows: Sequence[Sequence[Any]]) -> SessionPage:
    """Return rows with the fields of ``SessionRow``, then the token, from PostgreSQL."""
    return _page(rows, str, _iso_texts)


def _page(
    rows: Sequence[Sequence[Any]],
    as_id: Callable[[Any], str],
    as_texts: Callable[[Sequence[Any]], list[str]],
) -> SessionPage:
    if not rows:
        return SessionPage(())
    names, users, emails, states, *others = zip(*rows, strict=True)
    instants, texts = others[:3], others[3:5]
    ids = list(map(as_id, users))
    return SessionPage((names, ids, emails, states, *map(as_texts, instants), *texts))


@lru_cache(10_000)
def _dashed(digits: str) -> str:
    """Return an id as text; few users have many of the sessions."""
    return str(UUID(digits))


def _iso_texts(instants: Sequence[datetime]) -> list[str]:
    return [iso_text(instant) for instant in instants]

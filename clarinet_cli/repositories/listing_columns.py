"""Rows of sessions as a driver returns them, turned into columns for a listing."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Optional

from clarinet_cli.models.types import iso_texts, text_of
from clarinet_cli.results import SessionPage
from clarinet_cli.stored_forms import uuid_of
from clarinet_cli.timefmt import iso_text


def sqlite_page(rows: Sequence[Sequence[Any]]) -> SessionPage:
    """Return rows with the fields of ``SessionRow`` as SQLite stores them."""
    return _page(rows, _dashed, iso_texts, _texts)


def server_page(rows: Sequence[Sequence[Any]]) -> SessionPage:
    """Return rows with the fields of ``SessionRow``, then the token, from PostgreSQL."""
    return _page(rows, str, _iso_texts, _as_they_are)


def _page(
    rows: Sequence[Sequence[Any]],
    as_id: Callable[[Any], str],
    as_instants: Callable[..., list[Optional[str]]],
    as_texts: Callable[[Sequence[Any]], Sequence[Optional[str]]],
) -> SessionPage:
    if not rows:
        return SessionPage(())
    names, users, emails, states, *others = zip(*rows, strict=True)
    instants, texts = others[:3], others[3:5]
    ids = [name or "" for name in as_texts(names)]
    owners = list(map(as_id, users))
    sound = "invalid" not in states
    moments = (as_instants(column, sound=sound) for column in instants)
    return SessionPage((ids, owners, as_texts(emails), states, *moments, *map(as_texts, texts)))


@lru_cache(10_000)
def _dashed(stored: object) -> str:
    """Return an id as text; few users have many of the sessions."""
    return str(uuid_of(stored) or text_of(stored) or "")


def _texts(column: Sequence[object]) -> Sequence[Optional[str]]:
    """Return texts; a value of another type as the text that it is."""
    return [text_of(value) for value in column]


def _as_they_are(column: Sequence[Optional[str]]) -> Sequence[Optional[str]]:
    return column


def _iso_texts(instants: Sequence[Optional[datetime]], *, sound: bool) -> list[Optional[str]]:
    del sound
    return [None if instant is None else iso_text(instant) for instant in instants]

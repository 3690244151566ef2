"""Which session an id means."""

from datetime import datetime
from typing import Optional
from uuid import UUID

from clarinet_cli.exceptions import FAILURE, NOT_FOUND, REFUSED
from clarinet_cli.repositories.sessions import (
    ID_LENGTH,
    MATCHES_SHOWN,
    FoundSession,
    SessionRepository,
)
from clarinet_cli.services.accounts.resolve import storable

UNKNOWN_HINT = "'clarinet session list' shows the ids"
OWN_HINT = "'clarinet session list-user USER' shows the ids"
REPLACED = "\ufffd"  # what bytes become that are no text


async def one_session(
    sessions: SessionRepository, wanted: str, *, user_id: Optional[UUID] = None
) -> FoundSession:
    """Return the one session that *wanted* means; no error shows more than its id.

    Who gives the whole token names one session: it is compared, and never shown.

    Args:
        sessions: Where to look.
        wanted: The id, with or without more of the token; all that is given has to match.
        user_id: Only among this user's sessions.

    Raises:
        NotFoundError: There is no such session.
        RefusedError: Several match; the error lists them.
    """
    found: list[FoundSession] = []
    if len(wanted) >= ID_LENGTH and storable(wanted):
        found = await sessions.with_token(wanted, user_id=user_id)
        found = found or await sessions.with_id(wanted, user_id=user_id)
    if not found:
        whose = "the user has no session" if user_id else "no session"
        hint = OWN_HINT if user_id else UNKNOWN_HINT
        raise NOT_FOUND.with_context(f"{whose} {wanted[:ID_LENGTH]!r}", hint=hint)
    if len(found) > 1:
        raise REFUSED.with_context(
            f"session {wanted[:ID_LENGTH]!r} is ambiguous: {_listed(found)}",
            hint="'clarinet session revoke-user' ends all of a user's sessions"
            if user_id
            else "--user USER narrows it",
        )
    if REPLACED in found[0].token:
        raise FAILURE.with_context(
            f"access_token.token of session {wanted[:ID_LENGTH]!r} is not UTF-8 text",
            hint="'clarinet session revoke-user' ends all of a user's sessions",
        )
    return found[0]


def _listed(found: list[FoundSession]) -> str:
    texts = [
        f"created {_moment(session.created_at)} ({session.email or session.user_id})"
        for session in found[:MATCHES_SHOWN]
    ]
    return ", ".join([*texts, "and more"] if len(found) > MATCHES_SHOWN else texts)


def _moment(instant: Optional[datetime]) -> str:
    return "at an unknown time" if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}"

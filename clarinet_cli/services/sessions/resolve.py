"""Resolving sessions by their ids, and the users that they belong to."""

from datetime import datetime
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import FAILURE, NOT_FOUND, REFUSED
from clarinet_cli.repositories.sessions import (
    ID_LENGTH,
    MATCHES_SHOWN,
    FoundSession,
    SessionRepository,
)
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.services.accounts.resolve import resolve_user, storable

UNKNOWN_HINT = "'clarinet session list' shows the ids"
OWN_HINT = "'clarinet session list-user USER' shows the ids"
REVOKE_USER_HINT = "'clarinet session revoke-user' revokes all of a user's sessions"
REPLACED = "\ufffd"  # stands for bytes that are not UTF-8


async def resolve_user_id(session: AsyncSession, who: Optional[str]) -> Optional[UUID]:
    """Return the id of a user as ``resolve_user`` reads it; None for None."""
    return None if who is None else (await resolve_user(UserRepository(session), who)).id


async def one_session(
    sessions: SessionRepository, wanted: str, *, user_id: Optional[UUID] = None
) -> FoundSession:
    """Return the one session that *wanted* means; no error shows more than its id.

    A whole token is compared as it is, and never shown.

    Args:
        sessions: The repository.
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
            hint=REVOKE_USER_HINT if user_id else "--user USER narrows it",
        )
    if REPLACED in found[0].token:
        raise FAILURE.with_context(
            f"access_token.token of session {wanted[:ID_LENGTH]!r} is not UTF-8 text",
            hint=REVOKE_USER_HINT,
        )
    return found[0]


def _listed(found: list[FoundSession]) -> str:
    texts = [
        f"created {_created(session.created_at)} ({session.email or session.user_id})"
        for session in found[:MATCHES_SHOWN]
    ]
    return ", ".join([*texts, "and more"] if len(found) > MATCHES_SHOWN else texts)


def _created(instant: Optional[datetime]) -> str:
    return "at an unknown time" if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}"

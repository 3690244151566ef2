"""Queries on accounts."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Optional
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    cast,
    event,
    exists,
    func,
    insert,
    inspect,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapper, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import col

from clarinet_cli.exceptions import FAILURE
from clarinet_cli.models import User, metadata
from clarinet_cli.models.functions import (
    canonical_id,
)
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.models.types import dialect_id_form
from clarinet_cli.repositories.base import (
    BaseRepository,
    batches,
    execute_dml,
    folded_column,
    prevented_error,
)
from clarinet_cli.spelling import edit_distance, fold_case

ID = col(User.id)
EMAIL = col(User.email)
HASH: Any = col(User.hashed_password)
STATE = (ID, EMAIL, col(User.is_active), col(User.is_superuser), col(User.is_verified))
UUID_DIGITS = 32
MAX_EDITS = 2  # of a misspelled address
MAX_CANDIDATES = 5000
DASHED_FORMS = ("uuid-dashed", "uuid-hex")  # as text, with or without dashes
NUMBER_DIGITS = 19  # of a larger number than any id
USER_COLUMNS = tuple(column.name for column in metadata.tables[str(User.__tablename__)].columns)


class AccountState(NamedTuple):
    """An account's address and flags."""

    id: UUID
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool


class UserRepository(BaseRepository[User]):
    """Rows of ``user``."""

    model = User

    @property
    def id_form(self) -> Optional[str]:
        """How an application stores ids; None for the server's own form."""
        return dialect_id_form(self.session.get_bind().dialect)

    async def has_only_bcrypt(self) -> bool:
        """Return whether there are password hashes, and all of them are of bcrypt."""
        hashed = col(User.hashed_password)
        is_bcrypt = hashed.startswith("$2")
        some = exists().where(is_bcrypt).select_from(User)
        others = exists().where(hashed.is_not(None), ~is_bcrypt).select_from(User)
        return bool(await self.session.scalar(select(and_(some, ~others))))

    async def require_creatable(self) -> None:
        """Refuse to create accounts in an application's table that requires further values.

        Raises:
            RefusedError: The mapping does not give them.
        """
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is not None:
            from clarinet_cli.repositories.mapped_accounts import require_creatable

            await require_creatable(self.session, tables)

    async def extended_table(self) -> Optional[str]:
        """Return the table whose rows those of an application's accounts extend, if any."""
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is None:
            return None
        from clarinet_cli.repositories.mapped_accounts import extended_table

        return await extended_table(self.session, tables)

    async def add(self, row: User) -> User:
        """Insert an account.

        Raises:
            IntegrityError: A constraint forbids it.
            PreventedError: A trigger or rule prevented it.
        """
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is None:
            await super().add(row)
        else:
            from clarinet_cli.repositories.mapped_accounts import insert_account

            await insert_account(self.session, tables, row)
            make_transient_to_detached(row)
            self.session.add(row)
        await self._require_inserted([row])
        return row

    async def _require_inserted(self, users: Sequence[User]) -> None:
        """Check that new rows have the given values, which a trigger may change.

        An address may change its case: the account gets the stored form.

        Raises:
            PreventedError: A value was not set, or a row was removed.
        """
        tables = mapped_tables(self.session.get_bind().dialect)
        names = ["hashed_password", "is_active", "is_superuser"]
        if tables is None or tables.has(str(User.__tablename__), "is_verified"):
            names.append("is_verified")
        query = select(ID, EMAIL, *(col(getattr(User, name)) for name in names))
        rows = await self.session.execute(query.where(ID.in_([user.id for user in users])))
        stored = {row[0]: row[1:] for row in rows}
        for user in users:
            email, *values = stored.get(user.id, (None,))
            given = [getattr(user, name) for name in names]
            if values != given or fold_case(email or "") != fold_case(user.email):
                raise self.prevented_error()
            set_committed_value(user, "email", email)

    async def find_by_stored_id(self, text: str) -> Sequence[User]:
        """Return the account with an id that is a number or any text, as a list of one or none."""
        if self.id_form == "text":
            return await self.find(cast(ID, String) == text)
        is_number = text.isascii() and text.isdecimal() and len(text) < NUMBER_DIGITS
        return await self.find(ID == int(text)) if is_number else []

    async def find_by_login(self, name: str) -> Sequence[User]:
        """Return the accounts with this name in an application's column for logging in."""
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is None or tables.mapping.login in ("email", tables.mapping.user_columns.email):
            return []
        login: Any = literal_column(tables.login())
        return await self.find(login == literal(name, String))

    async def find_by_email(self, email: str, *also: str) -> Sequence[User]:
        """Return the accounts that match an address.

        An exact match has precedence. Otherwise the address is compared as the server does,
        ``lower(email) = lower(:email)``, and also case-folded, since the database's locale may
        not know all letters. Several rows can match.

        Args:
            email: The address.
            *also: Other spellings of the address, of lower precedence.

        Raises:
            ClarinetError: The account has no id.
        """
        spellings = dict.fromkeys((email, *also))
        for text in spellings:
            if exact := await self._accounts(EMAIL == text):
                return exact
        for text in spellings:
            same = func.lower(EMAIL) == func.lower(text)
            folded = await folded_column(self.session, EMAIL, text)
            if found := await self._accounts(or_(same, folded == fold_case(text))):
                return found
        return []

    async def _accounts(self, criterion: ColumnElement[bool]) -> Sequence[User]:
        """Return the accounts for which a condition holds.

        Raises:
            ClarinetError: An account has no id.
        """
        found = await self.find(criterion)
        if not found and await self.count(criterion):
            raise FAILURE.with_context(
                "user.id of this account is NULL",
                hint="give the row an id, or delete it: the server cannot read it either",
            )
        return found

    async def states(self) -> list[AccountState]:
        """Return address and flags of all accounts.

        They are fetched at once: in rollback-journal mode a reader blocks SQLite's writers.
        """
        rows = (await self.session.execute(select(*STATE))).all()
        return [
            AccountState(*row) for row in rows if row[0] is not None and isinstance(row[1], str)
        ]

    async def lock_all(self, user_ids: Iterable[UUID]) -> dict[UUID, AccountState]:
        """Lock accounts until the commit and return their current state.

        Args:
            user_ids: The accounts; those that no longer exist are omitted.
        """
        found: dict[UUID, AccountState] = {}
        for some in batches(sorted(user_ids, key=str)):
            query = select(*STATE).where(ID.in_(some)).order_by(ID).with_for_update()
            rows = await self.session.execute(query)
            found |= {row[0]: AccountState(*row) for row in rows}
        return found

    async def add_all(self, users: Sequence[User]) -> None:
        """Insert accounts, in batches; those of an application one by one.

        Raises:
            IntegrityError: A constraint forbids it.
            PreventedError: A trigger or rule prevented an insertion.
        """
        if mapped_tables(self.session.get_bind().dialect) is not None:
            for user in users:
                await self.add(user)
            return
        for some in batches(users):
            values = [user.model_dump() for user in some]
            if await execute_dml(self.session, insert(User).values(values)) != len(values):
                raise self.prevented_error()
            await self._require_inserted(some)

    async def set_flags(self, user_ids: Sequence[UUID], flags: dict[str, bool]) -> None:
        """Set the same flags of many existing accounts.

        Raises:
            PreventedError: A trigger or rule prevented an update.
        """
        for some in batches(user_ids):
            await execute_dml(self.session, update(User).where(ID.in_(some)).values(flags))
            set_now = [col(getattr(User, name)).is_(value) for name, value in flags.items()]
            if await self.count(ID.in_(some), *set_now) != len(some):
                raise self.prevented_error()

    async def find_by_id_prefix(self, digits: str) -> Sequence[User]:
        """Return the accounts whose UUID begins with these hexadecimal digits.

        On SQLite the column is compared as text: its numeric affinity would convert a bound such
        as ``99999999000…`` to a number, and an id may be stored in another form.
        """
        if self.id_form in DASHED_FORMS:
            plain = func.replace(cast(ID, String), "-", "")
            return await self.find(func.substr(plain, 1, len(digits)) == digits)
        if self.session.get_bind().dialect.name == "sqlite":
            same = cast(canonical_id(ID), String)
            return await self.find(func.substr(same, 1, len(digits)) == digits)
        first = UUID(digits.ljust(UUID_DIGITS, "0"))
        last = UUID(digits.ljust(UUID_DIGITS, "f"))
        return await self.find(first <= ID, last >= ID)

    async def addresses(self, start: str, *, limit: int) -> list[str]:
        """Return at most *limit* addresses that begin with *start*, ordered."""
        begins = EMAIL.startswith(start, autoescape=True)
        return list(
            await self.session.scalars(select(EMAIL).where(begins).order_by(EMAIL).limit(limit))
        )

    async def similar_addresses(self, address: str, *, limit: int) -> list[str]:
        """Return at most *limit* addresses that an address may be a misspelling of, best first.

        They have the same name before the ``@``, or the same first letter and two edits at most.
        """
        name, length = address.partition("@")[0], func.length(EMAIL)
        similar = EMAIL.startswith(f"{name}@", autoescape=True)
        for letter in {name[:1].lower(), name[:1].upper()} - {""}:
            near = length.between(len(address) - 2, len(address) + 2)
            similar = or_(similar, and_(EMAIL.startswith(letter, autoescape=True), near))
        query = select(EMAIL).where(similar).limit(MAX_CANDIDATES)
        found = {
            str(other): edit_distance(address.casefold(), str(other).casefold(), limit=MAX_EDITS)
            for other in await self.session.scalars(query)
        }
        meant = [
            other
            for other, edits in found.items()
            if edits <= MAX_EDITS or fold_case(other.partition("@")[0]) == fold_case(name)
        ]
        return sorted(meant, key=lambda other: (found[other], other))[:limit]

    async def active_superusers(self) -> Sequence[User]:
        """Return the active superusers."""
        return await self.find(col(User.is_superuser).is_(True), col(User.is_active).is_(True))

    async def lock(self, user_id: UUID) -> Optional[User]:
        """Lock an account until the commit and return its current state.

        SQLite, where a writer locks the whole database, only reads the row again.
        """
        query = select(User).where(ID == user_id).with_for_update()
        found: Optional[User] = await self.session.scalar(
            query, execution_options={"populate_existing": True}
        )
        return found

    async def lock_active_superusers(self) -> dict[UUID, object]:
        """Lock the active superusers until the commit and return their hashes by id.

        On PostgreSQL a transaction that waited for the lock gets the current rows.
        """
        superusers = select(ID, HASH).where(col(User.is_superuser), col(User.is_active))
        rows = await self.session.execute(superusers.order_by(ID).with_for_update())
        return {row[0]: row[1] for row in rows}

    async def remove(self, user_id: UUID) -> None:
        """Delete an account.

        Raises:
            IntegrityError: Other rows refer to it.
            PreventedError: A trigger or rule prevented it.
        """
        await self.remove_where(ID == user_id)

    async def mark_deleted(self, user_id: UUID) -> None:
        """Set the column that marks an account of an application as deleted.

        Raises:
            PreventedError: A trigger or rule prevented it.
        """
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is not None:
            from clarinet_cli.repositories.mapped_accounts import mark_deleted

            await mark_deleted(self.session, tables, user_id)
            if await self.count(ID == user_id):  # a trigger has reverted it
                raise self.prevented_error()


@event.listens_for(User, "after_update")
def _require_written(_: Mapper[User], connection: Connection, user: User) -> None:
    """Check after an update that the row has the new values, which a trigger may revert.

    Raises:
        PreventedError: A value was not set.
    """
    state = inspect(user)
    names = [name for name in USER_COLUMNS if state.attrs[name].history.has_changes()]
    query = select(*(col(getattr(User, name)) for name in names)).where(col(User.id) == user.id)
    if names and tuple(connection.execute(query).one()) != tuple(
        getattr(user, name) for name in names
    ):
        raise prevented_error(connection.dialect, str(User.__tablename__))

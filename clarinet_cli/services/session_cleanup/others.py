"""Rows of other tables that refer to dead sessions: some go along, some forbid it."""

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, not_

from clarinet_cli.database.engine import Access
from clarinet_cli.models.functions import all_instants_readable
from clarinet_cli.repositories.references import (
    Reference,
    ReferenceRepository,
    can_protect,
    protected,
)
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.services.session_cleanup.transactions import Transactions

Counts = dict[str, int]


@dataclass(slots=True)
class OtherTables:
    """What other tables have to do with one clean-up; where none refers to sessions, nothing.

    Attributes:
        dead_if_valid: The sessions that the clean-up would remove without them, among those that
            can be judged.
        references: Their foreign keys.
        protected: How many dead sessions they keep.
        protected_by: Their rows that do, by ``table.column``.
        cascaded: Their rows that went along, or would go, by ``table.column``.
    """

    dead_if_valid: ColumnElement[bool]
    references: tuple[Reference, ...] = ()
    protected: int = 0
    protected_by: Counts = field(default_factory=dict)
    cascaded: Counts = field(default_factory=dict)

    @property
    def removable(self) -> ColumnElement[bool]:
        """The dead sessions that can be deleted."""
        return and_(self.removable_if_valid, all_instants_readable())

    @property
    def removable_if_valid(self) -> ColumnElement[bool]:
        """Those among sessions that can be judged."""
        if not can_protect(self.references):
            return self.dead_if_valid
        return and_(self.dead_if_valid, not_(protected(self.references)))

    async def count_before(self, transactions: Transactions) -> None:
        """Count the rows that would go along with all of them."""
        if self.references:
            _, self.cascaded = await self._counted(transactions, self.removable)

    async def count_after(self, transactions: Transactions, *, dry_run: bool) -> None:
        """Count the rows that went along, and what is protected."""
        if self.references and not dry_run:
            _, left = await self._counted(transactions, self.removable)
            gone = {name: count - left.get(name, 0) for name, count in self.cascaded.items()}
            self.cascaded = {name: count for name, count in gone.items() if count > 0}
        if can_protect(self.references):
            valid = all_instants_readable()
            kept = and_(self.dead_if_valid, valid, protected(self.references))
            sessions = SessionRepository(transactions.session)
            self.protected = await transactions.patiently(Access.READ, lambda: sessions.count(kept))
            self.protected_by, _ = await self._counted(transactions, kept)

    async def _counted(
        self, transactions: Transactions, here: ColumnElement[bool]
    ) -> tuple[Counts, Counts]:
        rows = ReferenceRepository(transactions.session)
        return await transactions.patiently(
            Access.READ, lambda: rows.to_sessions(self.references, here)
        )

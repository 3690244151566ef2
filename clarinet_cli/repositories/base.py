"""What every repository can do."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.models.base import Base

ModelT = TypeVar("ModelT", bound=Base)
ValueT = TypeVar("ValueT")

VALUES_AT_ONCE = 500  # values of one IN; a driver has a limit of parameters


def chunks(values: Sequence[ValueT]) -> Iterator[Sequence[ValueT]]:
    """Yield *values* in parts that one statement takes."""
    for start in range(0, len(values), VALUES_AT_ONCE):
        yield values[start : start + VALUES_AT_ONCE]


class BaseRepository(Generic[ModelT]):
    """Rows of one table. Nothing is committed here: whoever opened the session does.

    Args:
        session: The session that all queries run in.
    """

    model: ClassVar[type[Any]]

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, row: ModelT) -> ModelT:
        """Insert *row*.

        Raises:
            IntegrityError: A constraint forbids it.
        """
        self.session.add(row)
        await self.session.flush()
        return row

    async def find(self, *criteria: ColumnElement[bool]) -> Sequence[ModelT]:
        """Return the rows for which all *criteria* hold, in no particular order."""
        rows: Sequence[ModelT] = (
            await self.session.scalars(select(self.model).where(*criteria))
        ).all()
        return rows

    async def count(self, *criteria: ColumnElement[bool]) -> int:
        """Return the number of rows for which all *criteria* hold."""
        query = select(func.count()).select_from(self.model).where(*criteria)
        return int(await self.session.scalar(query) or 0)

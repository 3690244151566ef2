"""A proposed mapping, with what is certain and what is not."""

from dataclasses import dataclass, field, replace
from typing import Any, Optional

from clarinet_cli.mapping import Lifetime, Mapping, SessionStrategy
from clarinet_cli.services.inspection import shapes

DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mapping that is proposed.

    Attributes:
        values: The keys of ``[mapping]``, except the two that are not in the catalogue.
        session_strategy: Where the application keeps its sessions; None: not known.
        session_lifetime_seconds: The lifetime of its sessions; None: not known.
        found: What the catalogue shows beyond the usual columns.
        doubts: Uncertain values, by key; the mapping works without them.
        obstacles: Unknown values, by key; the mapping requires them.
        session_obstacles: The same of sessions; no obstacles where they are not in the database.
        own: The tables are those of the preset ``clarinet``, which need no mapping.
    """

    values: dict[str, Any] = field(default_factory=dict)
    session_strategy: Optional[SessionStrategy] = None
    session_lifetime_seconds: Optional[Lifetime] = None
    found: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    session_obstacles: tuple[str, ...] = ()
    own: bool = False

    @property
    def lacks_strategy(self) -> bool:
        """Whether session_strategy is unknown."""
        return self.session_strategy is None and not self.own

    @property
    def lacks_lifetime(self) -> bool:
        """Whether session_lifetime_seconds is unknown and required."""
        stored = self.values.get("token_columns", {}).get("expires_at")
        return self.may_have_rows and not stored and self.session_lifetime_seconds is None

    @property
    def may_have_rows(self) -> bool:
        """Whether sessions are rows of the database, or may be."""
        return self.session_strategy in (None, DATABASE) and not self.own

    @property
    def unknown(self) -> tuple[str, ...]:
        """What must be known before the mapping can be used, by key."""
        found = [*self.obstacles, *(self.session_obstacles if self.may_have_rows else ())]
        if self.lacks_strategy:
            found.append("session_strategy: is it database, jwt or redis?")
        elif self.session_strategy == DATABASE and self.values.get("tokens") == "" and not found:
            found.append("tokens: there is no table of sessions for session_strategy = database")
        if self.lacks_lifetime:
            found.append(
                "session_lifetime_seconds: the lifetime_seconds of the application's strategy, "
                "or none"
            )
        return tuple(found)

    @property
    def uncertain(self) -> dict[str, str]:
        """What the catalogue leaves open, by key."""
        found: dict[str, str] = {}
        for text in (*self.unknown, *self.doubts):
            key, _, reason = text.partition(": ")
            found[key] = f"{found[key]}; {reason}" if key in found else reason
        return found

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of ``[mapping]``, in the form of a settings file."""
        given = {
            "session_strategy": self.session_strategy,
            "session_lifetime_seconds": self.session_lifetime_seconds,
        }
        values = self.values | {key: value for key, value in given.items() if value is not None}
        if self.session_obstacles and not self.may_have_rows:
            values = {key: value for key, value in values.items() if key != "token_columns"}
            values["tokens"] = ""
        # Without a table of sessions the two can contradict each other: that is reported.
        checked = values | {"session_strategy": None} if not values.get("tokens") else values
        kept = Mapping.model_validate(checked).as_settings()
        return kept | {key: values[key] for key in ("session_strategy",) if key in values}

    def with_answers(
        self,
        session_strategy: Optional[SessionStrategy] = None,
        session_lifetime_seconds: Optional[Lifetime] = None,
    ) -> "Proposal":
        """Return the proposal with the answers of a user; None changes nothing."""
        return replace(
            self,
            session_strategy=session_strategy or self.session_strategy,
            session_lifetime_seconds=session_lifetime_seconds or self.session_lifetime_seconds,
        )

    def with_stored_id(self, stored: object) -> "Proposal":
        """Return the proposal for ids of the type ``uuid`` on SQLite, which has no such type.

        SQLAlchemy's ``UUID`` stores hexadecimal digits there, that of fastapi-users dashes too.

        Args:
            stored: The id of some account; None if there is none.
        """
        form = shapes.stored_form(stored)
        if form is not None:
            return replace(self, values=self.values | {"id_form": form})
        column = f"{self.values['users']}.{self.values['user_columns']['id']}"
        shown = "no row shows" if stored is None else f"{stored!r} does not show"
        reason = f"id_form: {column} is of the type uuid, and {shown} whether it has dashes"
        return replace(self, obstacles=(*self.obstacles, reason))

    def with_owner_form(self, form: Optional[str]) -> "Proposal":
        """Return the proposal for sessions that store the ids of accounts in a form.

        Args:
            form: The form, by the type of their column; None: unknown.
        """
        differ = {form, self.values.get("id_form")} == {"uuid-dashed", "uuid-hex"}
        return replace(self, values=self.values | {"user_id_form": form}) if differ else self

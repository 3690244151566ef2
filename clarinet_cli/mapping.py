"""The mapping of accounts and sessions to the tables of an application.

An application that authenticates with fastapi-users has tables of its own names and forms. A
mapping names them; the preset ``clarinet`` is not a mapping: it means the tables of ``models``.
"""

import json
import re
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CLARINET: Literal["clarinet"] = "clarinet"
FASTAPI_USERS: Literal["fastapi-users"] = "fastapi-users"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = frozenset({"email", "local_part", "now"})

IdForm = Literal["uuid", "uuid-dashed", "uuid-hex", "integer", "text"]
SessionStrategy = Literal["database", "jwt", "redis"]
NaiveTimestamps = Literal["", "utc"]
TokenDigest = Literal["", "sha256", "sha384", "sha512", "other"]
Lifetime = int | Literal["none"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UserColumns(_Table):
    """The columns of an account; an empty name means that there is none."""

    id: str = Field(default="id", min_length=1)
    email: str = Field(default="email", min_length=1)
    hashed_password: str = Field(default="hashed_password", min_length=1)
    is_active: str = Field(default="is_active", min_length=1)
    is_superuser: str = Field(default="is_superuser", min_length=1)
    is_verified: str = "is_verified"


class TokenColumns(_Table):
    """The columns of a session; an empty name means that there is none."""

    token: str = Field(default="token", min_length=1)
    user_id: str = Field(default="user_id", min_length=1)
    created_at: str = Field(default="created_at", min_length=1)
    expires_at: str = ""
    last_accessed: str = ""
    ip_address: str = ""
    user_agent: str = ""


class RoleLinkColumns(_Table):
    """The table that links accounts to roles.

    Attributes:
        table: The link table.
        user_id: Its column with the id of the account.
        role: Its column with the name of the role, or with the key of ``role_table``.
        role_table: The table of roles; empty if ``role`` is the name itself.
        role_key: The key of ``role_table``.
        role_name: The name in ``role_table``.
    """

    table: str = Field(min_length=1)
    user_id: str = Field(default="user_id", min_length=1)
    role: str = Field(default="role_id", min_length=1)
    role_table: str = ""
    role_key: str = "id"
    role_name: str = "name"


class Mapping(_Table):
    """The tables of an application; the defaults are those of fastapi-users.

    Attributes:
        preset: The preset with these defaults.
        schema_name: The schema of the tables; empty: found by the search path.
        users: The table of accounts.
        tokens: The table of sessions; empty if there is none.
        id_form: How the id of an account is stored. ``uuid`` is PostgreSQL's type; on SQLite it
            is the form in which fastapi-users writes it, with dashes.
        user_id_form: How sessions store the ids of accounts, where one of the two is
            ``uuid-dashed`` and the other ``uuid-hex``; empty: as the accounts do.
        login: The column that users log in by.
        roles: Whether roles are in a link table, a column of the account, or absent.
        role_column: The column, for ``roles = "column"``.
        role_link: The link table, for ``roles = "link"``.
        soft_delete: A column that is NULL unless the account is deleted; empty: there is none.
        soft_delete_flag: That column is a flag instead, true if the account is deleted.
        create_values: The values of further columns of a new account; ``{email}``,
            ``{local_part}`` and ``{now}``, alone a timestamp, are replaced.
        token_digest: What ``token_columns.token`` holds instead of the token: a hexadecimal digest
            of it, or ``other``, a digest that this tool cannot compute; empty: the token itself.
        naive_timestamps: The zone of the timestamps of sessions where PostgreSQL has them
            without a time zone; empty: they have one.
        session_strategy: Where the application keeps its sessions.
        session_lifetime_seconds: The lifetime of a session without ``expires_at``; ``none``:
            sessions do not expire; None: unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    preset: Literal["fastapi-users"] = FASTAPI_USERS
    schema_name: str = Field(default="", alias="schema")
    users: str = Field(default="user", min_length=1)
    tokens: str = "accesstoken"
    id_form: IdForm = "uuid"
    user_id_form: Literal["", "uuid-dashed", "uuid-hex"] = ""
    login: str = Field(default="email", min_length=1)
    roles: Literal["none", "link", "column"] = "none"
    role_column: str = ""
    soft_delete: str = ""
    soft_delete_flag: bool = False
    token_digest: TokenDigest = ""
    naive_timestamps: NaiveTimestamps = ""
    session_strategy: Optional[SessionStrategy] = None
    session_lifetime_seconds: Optional[Lifetime] = None
    user_columns: UserColumns = UserColumns()
    token_columns: TokenColumns = TokenColumns()
    role_link: Optional[RoleLinkColumns] = None
    create_values: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_consistent(self) -> "Mapping":
        if self.roles == "link" and self.role_link is None:
            raise ValueError('roles = "link" requires the table role_link')
        if self.roles == "column" and not self.role_column:
            raise ValueError('roles = "column" requires role_column')
        if self.user_id_form and self.id_form not in ("uuid-dashed", "uuid-hex"):
            raise ValueError('user_id_form requires id_form = "uuid-dashed" or "uuid-hex"')
        if self.session_strategy == "database" and not self.tokens:
            raise ValueError('session_strategy = "database" requires tokens')
        if isinstance(self.session_lifetime_seconds, int) and self.session_lifetime_seconds <= 0:
            raise ValueError("session_lifetime_seconds must be above 0, or none")
        for column, value in self.create_values.items():
            unknown = set(PLACEHOLDER.findall(str(value))) - PLACEHOLDERS
            if unknown:
                raise ValueError(
                    f"create_values.{column}: unknown placeholder {{{min(unknown)}}}; "
                    f"there are {', '.join(f'{{{name}}}' for name in sorted(PLACEHOLDERS))}"
                )
        return self

    def stored_form(self, backend: str) -> IdForm:
        """Return how ids are stored on a backend, ``sqlite`` or ``postgresql``."""
        return "uuid-dashed" if self.id_form == "uuid" and backend == "sqlite" else self.id_form

    def as_settings(self) -> dict[str, Any]:
        """Return the keys of ``[mapping]`` that differ from the preset, with the preset."""
        values = self.model_dump(by_alias=True, exclude_defaults=True, exclude_none=True)
        return {"preset": self.preset, **values}


def parse_mapping(value: object) -> Mapping | Literal["clarinet"]:
    """Return the mapping of a setting: the name of a preset, or a table.

    Args:
        value: As it is written; in a variable a table is JSON.

    Raises:
        ValueError: It is neither, or a value in it cannot be used.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json.loads(value)
    if isinstance(value, Mapping):
        return value
    if value == CLARINET:
        return CLARINET
    if value == FASTAPI_USERS:
        return Mapping()
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - what pydantic reports as an invalid value
            f"not a table, {CLARINET!r} or {FASTAPI_USERS!r}"
        )
    try:
        return Mapping.model_validate(value)
    except ValidationError as error:
        texts = [_problem(item["loc"], item["msg"]) for item in error.errors()]
        raise ValueError("; ".join(texts)) from None


def _problem(location: tuple[int | str, ...], message: str) -> str:
    reason = message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, location))}: {reason}" if location else reason

"""Recognition of the tables of accounts, sessions and roles by their columns and keys."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

from clarinet_cli.models import TABLE_NAMES, metadata
from clarinet_cli.models.mapped import NAIVE_TIMESTAMP
from clarinet_cli.models.types import parse_uuid
from clarinet_cli.repositories.catalogue import CatalogueColumn, CatalogueKey, CatalogueTable

HASHES = ("hashed_password", "password_hash", "passwordhash", "pw_hash", "passwd", "password")
ADDRESSES = ("email", "email_address", "mail", "e_mail")
ACTIVE = ("is_active", "active", "enabled")
SUPERUSER = ("is_superuser", "superuser", "is_admin", "admin")
VERIFIED = ("is_verified", "verified", "email_verified", "is_confirmed")
TOKENS = (
    "token",
    "key",
    "session_token",
    "access_token",
    "token_hash",
    "hashed_token",
    "token_digest",
)
OTHER_TOKENS = ("reset", "refresh", "verif", "confirm", "invit", "api", "magic", "otp", "oauth")
SESSION_WORDS = ("session", "access", "auth", "login")
TOKEN_LENGTH = 43  # of secrets.token_urlsafe(), by which fastapi-users makes tokens
DIGEST_WORDS = ("hash", "digest")
DIGEST_LENGTHS = (64, 96, 128)  # hexadecimal digits of SHA-256, SHA-384 and SHA-512
CREATED = ("created_at", "created_on", "created", "creation_date", "date_created", "issued_at")
EXPIRES = ("expires_at", "expires_on", "expires", "expiry", "expiration", "valid_until")
LAST_ACCESSED = (
    "last_accessed",
    "last_accessed_at",
    "last_used_at",
    "last_used",
    "last_seen_at",
    "last_seen",
    "last_activity",
)
IP_ADDRESSES = ("ip_address", "ip", "client_ip", "remote_addr", "remote_address")
USER_AGENTS = ("user_agent", "useragent", "agent")
OWNERS = ("user_id", "account_id", "owner_id")
ROLE_NAMES = ("name", "role", "role_name", "code", "slug", "title")
ROLE_COLUMNS = ("role", "user_role", "role_name")
DELETED = ("deleted_at", "deleted_on", "date_deleted")
DELETED_FLAGS = ("is_deleted", "deleted", "soft_deleted")
REVOKED = ("revoked_at", "is_revoked", "revoked", "is_active", "active")
NO_JOINTS = str.maketrans("", "", "_-")
ROLE_WORDS = ("role", "group")
TEXTS = ("char", "varchar", "text", "citext", "character", "nvarchar", "nchar", "string")
TIMESTAMPS = ("timestamp", "datetime")
INTEGERS = ("integer", "bigint", "smallint", "int")
FLAGS = ("bool", "tinyint")
ROLE_KINDS = (*TEXTS, "enum")
DASHED_LENGTH = 36
HEX_LENGTH = 32


class RoleLink(NamedTuple):
    """A link table between accounts and roles."""

    table: CatalogueTable
    user_id: str
    role: str
    roles: Optional[CatalogueTable]
    role_key: str
    role_name: str

    @property
    def names_roles(self) -> bool:
        """Whether a table of it is named after roles; others link to groups."""
        names = (self.table.name, self.roles.name if self.roles else "")
        return any(ROLE_WORDS[0] in name.lower() for name in names)


def is_text(column: CatalogueColumn) -> bool:
    """Return whether a column holds text."""
    return column.kind.startswith(TEXTS)


def may_be_digest(column: CatalogueColumn) -> bool:
    """Return whether the column of a token may hold a digest of it instead."""
    is_named = any(word in column.name.lower() for word in DIGEST_WORDS)
    return is_named or column.length in DIGEST_LENGTHS


def is_timestamp(column: CatalogueColumn) -> bool:
    """Return whether a column holds timestamps."""
    return column.kind.startswith(TIMESTAMPS)


def is_naive(column: CatalogueColumn) -> bool:
    """Return whether a column of PostgreSQL holds timestamps without their time zone."""
    return column.kind == NAIVE_TIMESTAMP


def without_joints(name: str) -> str:
    """Return a name in lower case, without underscores and hyphens."""
    return name.lower().translate(NO_JOINTS)


def find_column(
    table: CatalogueTable, names: Sequence[str], kinds: tuple[str, ...] = ()
) -> Optional[str]:
    """Return the first of some names that a column of these types has.

    Case, underscores and hyphens are ignored: ``hashedPassword`` is ``hashed_password``.
    """
    present = {without_joints(name): name for name in table.columns}
    for name in names:
        column = table.columns.get(present.get(without_joints(name), ""))
        if column is not None and (not kinds or column.kind.startswith(kinds)):
            return column.name
    return None


def are_own(tables: Iterable[CatalogueTable]) -> bool:
    """Return whether the tables have all columns of the preset ``clarinet``."""
    columns = {table.name: table.columns for table in tables if table.schema is None}
    own = {name: metadata.tables[name].columns for name in TABLE_NAMES}
    return all(
        name in columns and {column.name for column in expected} <= columns[name].keys()
        for name, expected in own.items()
    )


def without_children(tables: Sequence[CatalogueTable]) -> list[CatalogueTable]:
    """Return the tables apart from those that inherit from another one of them.

    The rows of such a table are also rows of the other one.
    """
    places = {(table.schema, table.name) for table in tables}
    return [table for table in tables if not table.parents & places]


def account_tables(tables: Iterable[CatalogueTable]) -> list[CatalogueTable]:
    """Return the tables with a password hash, an address and a primary key of one column.

    Of several, those with the flags that fastapi-users requires are returned, if there are any:
    others, such as requests for an account, have hashes too.
    """
    found = [
        table
        for table in tables
        if len(table.primary_key) == 1
        and find_column(table, HASHES, TEXTS)
        and find_column(table, ADDRESSES, TEXTS)
    ]
    found = without_children(found)
    flags = (ACTIVE, SUPERUSER)
    return [
        table for table in found if all(find_column(table, flag, FLAGS) for flag in flags)
    ] or found


def token_key(table: CatalogueTable, users: CatalogueTable) -> Optional[CatalogueKey]:
    """Return the foreign key of a table of sessions to the accounts; None without one.

    Its token is in the primary key or unique, and it has the time of the log-in.
    """
    token = find_column(table, TOKENS, TEXTS)
    keys = table.refers_to(users)
    if len(keys) > 1:  # another one may refer to who issued it
        owner = find_column(table, OWNERS)
        keys = [key for key in keys if key.columns == (owner,)]
    if token is None or find_column(table, CREATED, TIMESTAMPS) is None or len(keys) != 1:
        return None
    is_key = token in table.primary_key or frozenset((token,)) in table.unique
    return keys[0] if is_key else None


def key_by_names(table: CatalogueTable, users: CatalogueTable) -> Optional[CatalogueKey]:
    """Return the key that a table like fastapi-users' own has without a constraint, or None.

    Its column is named after the accounts and has the type of their ids.
    """
    owner, key = find_column(table, OWNERS), users.primary_key[0]
    if owner is None or not _has_token_as_key(table) or table.schema != users.schema:
        return None
    refers = any(item.columns == (owner,) for item in table.keys)
    same = id_form(table.columns[owner]) == id_form(users.columns[key])
    if refers or not same or find_column(table, CREATED, TIMESTAMPS) is None:
        return None
    return CatalogueKey((owner,), (users.schema, users.name), (key,))


def likely_sessions(candidates: Sequence[CatalogueTable]) -> Optional[CatalogueTable]:
    """Return the table that is likelier to have the sessions than the others; None if none is.

    It is the only one like fastapi-users' own, whose key is a token of 43 characters, or the
    only one whose name says sessions and no name of another purpose.
    """
    if len(candidates) == 1:
        return candidates[0]
    usual = [table for table in candidates if not may_be_other_token(table)]
    own = [table for table in usual if _has_token_as_key(table)]
    if len(own) == 1:
        return own[0]
    is_named = any(word in table.name.lower() for table in usual for word in SESSION_WORDS)
    return usual[0] if len(usual) == 1 and is_named else None


def _has_token_as_key(table: CatalogueTable) -> bool:
    token = find_column(table, TOKENS, TEXTS)
    return token in table.primary_key and table.columns[token].length == TOKEN_LENGTH


def may_be_other_token(table: CatalogueTable) -> bool:
    """Return whether a table may hold tokens of another purpose, such as a new password."""
    return any(word in table.name.lower() for word in OTHER_TOKENS)


def id_form(column: CatalogueColumn) -> Optional[str]:
    """Return how an id is stored, by the type of its column; None for another type."""
    if column.kind.startswith("uuid"):
        return "uuid"
    if column.kind in INTEGERS:
        return "integer"
    if not is_text(column):
        return None
    return {DASHED_LENGTH: "uuid-dashed", HEX_LENGTH: "uuid-hex"}.get(column.length or 0, "text")


def stored_form(stored: object) -> Optional[str]:
    """Return the form of a UUID that SQLite stores as text; None for another value."""
    if parse_uuid(stored) is None or not isinstance(stored, str):
        return None
    return {DASHED_LENGTH: "uuid-dashed", HEX_LENGTH: "uuid-hex"}.get(len(stored))


def may_be_roles(name: str) -> bool:
    """Return whether a table may contain roles, by its name."""
    return any(word in name.lower() for word in ROLE_WORDS)


def links_to_roles(table: CatalogueTable) -> bool:
    """Return whether a table refers to one of roles."""
    return any(may_be_roles(key.table[1]) for key in table.keys)


def role_links(tables: Sequence[CatalogueTable], users: CatalogueTable) -> list[RoleLink]:
    """Return the tables that link accounts to roles: two columns in a key, one of an account."""
    found: list[RoleLink] = []
    for table in tables:
        keys = table.refers_to(users)
        if len(keys) != 1 or not may_be_roles(table.name) or table.schema != users.schema:
            continue
        user_id = keys[0].columns[0]
        pairs = [pair for pair in table.unique if user_id in pair and len(pair) == len(("u", "r"))]
        for pair in pairs[:1]:
            (role,) = pair - {user_id}
            if link := _role_link(tables, table, user_id, role):
                found.append(link)
    return found


def further_required(link: RoleLink) -> list[str]:
    """Return the columns of a link table that require more than an account and a role."""
    columns = link.table.columns.values()
    given = (link.user_id, link.role)
    return [item.name for item in columns if item.required and item.name not in given]


def _role_link(
    tables: Sequence[CatalogueTable], table: CatalogueTable, user_id: str, role: str
) -> Optional[RoleLink]:
    for key in table.keys:
        if key.columns != (role,):
            continue
        same = [item for item in tables if item.schema == table.schema]
        roles = next((item for item in same if (item.schema, item.name) == key.table), None)
        name = find_column(roles, ROLE_NAMES, ROLE_KINDS) if roles else None
        if roles is not None and name is not None:
            return RoleLink(table, user_id, role, roles, key.referred[0], name)
        return None
    is_name = table.columns[role].kind.startswith(ROLE_KINDS)
    return RoleLink(table, user_id, role, None, "", "") if is_name else None

"""Building the proposal of a mapping from a catalogue."""

from collections.abc import Sequence
from typing import Any, Optional

from clarinet_cli.repositories.catalogue import CatalogueTable
from clarinet_cli.services.inspection import shapes
from clarinet_cli.services.inspection.proposal import Proposal

LOGIN_NAMES = ("username", "user_name", "login", "nickname", "handle")
PERSON_NAMES = ("name", "full_name", "display_name", "first_name", "last_name")
LONG_ENOUGH = 320  # for an e-mail address, RFC 3696


def propose_mapping(tables: Sequence[CatalogueTable]) -> Proposal:
    """Return the mapping that a catalogue suggests.

    Args:
        tables: All tables of the database.
    """
    if shapes.are_own(tables):
        return Proposal(found=("the tables are those of Clarinet",), own=True)
    candidates = shapes.account_tables(tables)
    if len(candidates) != 1:
        listed = ", ".join(table.fullname for table in candidates)
        reason = f"several tables look like accounts: {listed}"
        if not candidates:
            reason = "no table has a password hash, an e-mail address and a simple primary key"
        return Proposal(obstacles=(f"users: {reason}",))
    return _ProposalBuilder(tables, candidates[0]).proposal()


class _ProposalBuilder:
    """The parts of a proposal for one table of accounts."""

    def __init__(self, tables: Sequence[CatalogueTable], users: CatalogueTable) -> None:
        self.tables = tables
        self.users = users
        self.values: dict[str, Any] = {"users": users.name}
        self.found: list[str] = []
        self.doubts: list[str] = []
        self.obstacles: list[str] = []
        self.session_obstacles: list[str] = []

    def proposal(self) -> Proposal:
        if self.users.schema:
            self.values["schema"] = self.users.schema
        self._user_columns()
        self._id_form()
        self._tokens()
        self._roles()
        self._further_columns()
        return Proposal(
            self.values,
            found=tuple(self.found),
            doubts=tuple(self.doubts),
            obstacles=tuple(self.obstacles),
            session_obstacles=tuple(self.session_obstacles),
        )

    def _user_columns(self) -> None:
        users = self.users
        columns = {
            "id": users.primary_key[0],
            "email": shapes.find_column(users, shapes.ADDRESSES, shapes.TEXTS) or "",
            "hashed_password": shapes.find_column(users, shapes.HASHES, shapes.TEXTS) or "",
            "is_verified": shapes.find_column(users, shapes.VERIFIED, shapes.FLAGS) or "",
        }
        for key, names in {"is_active": shapes.ACTIVE, "is_superuser": shapes.SUPERUSER}.items():
            name = shapes.find_column(users, names, shapes.FLAGS)
            if name is None:
                self.obstacles.append(
                    f"user_columns.{key}: {users.fullname} has no flag {' or '.join(names)}"
                )
            else:
                columns[key] = name
        if not columns["is_verified"]:
            self.found.append(f"{users.fullname} has no is_verified")
        email = columns["email"]
        if users.columns[email].nullable:
            self.doubts.append(f"user_columns.email: {users.fullname}.{email} can be NULL")
        if frozenset((email,)) not in users.unique:
            self.doubts.append(f"user_columns.email: {users.fullname}.{email} is not unique")
        if users.columns[columns["hashed_password"]].nullable:
            self.found.append(f"{users.fullname}.{columns['hashed_password']} can be NULL")
        self.values["user_columns"] = columns
        timestamp = shapes.find_column(users, shapes.DELETED, shapes.TIMESTAMPS)
        flag = shapes.find_column(users, shapes.DELETED_FLAGS, shapes.FLAGS)
        if name := timestamp or flag:
            self.values |= {"soft_delete": name} | ({} if timestamp else {"soft_delete_flag": True})
            self.doubts.append(f"soft_delete: {users.fullname}.{name} may mark deleted accounts")
        if timestamp and flag:
            self.doubts.append(
                f"soft_delete: so may {users.fullname}.{flag}, which '--soft' does not set"
            )

    def _id_form(self) -> None:
        column = self.users.columns[self.users.primary_key[0]]
        fullname = f"{self.users.fullname}.{column.name}"
        form = shapes.id_form(column)
        if form is None:
            self.obstacles.append(f"id_form: {fullname} is of the type {column.kind}")
            return
        if form == "text":
            self.doubts.append(f"id_form: {fullname} may hold UUIDs or any other text")
        self.values["id_form"] = form

    def _tokens(self) -> None:
        keys = {table.fullname: shapes.token_key(table, self.users) for table in self.tables}
        candidates = [table for table in self.tables if keys[table.fullname] is not None]
        self.values["tokens"] = ""
        if not candidates:
            keys = {table.fullname: shapes.key_by_names(table, self.users) for table in self.tables}
            candidates = [table for table in self.tables if keys[table.fullname] is not None]
            self.doubts += [
                f"tokens: {table.fullname} has no foreign key to {self.users.fullname}"
                for table in candidates
            ]
        if not candidates:
            self.found.append("no table of sessions refers to the accounts")
            return
        candidates = shapes.without_children(candidates)
        table = shapes.likely_sessions(candidates)
        if len(candidates) > 1:
            listed = ", ".join(table.fullname for table in candidates)
            reasons = self.session_obstacles if table is None else self.doubts
            reasons.append(f"tokens: several tables look like sessions: {listed}")
        if table is None:
            return
        if table.schema != self.users.schema:
            self.session_obstacles.append(
                f"schema: {table.fullname} is in another schema than {self.users.fullname}, which "
                "requires both in search_path, of the role or in database_url"
            )
        if shapes.may_be_other_token(table):
            self.session_obstacles.append(
                f"tokens: {table.fullname} may have another purpose than log-in"
            )
        if key := keys[table.fullname]:
            self._session_columns(table, key.columns[0])

    def _session_columns(self, table: CatalogueTable, owner: str) -> None:
        """Map the columns of the sessions.

        Args:
            table: The table.
            owner: The column that refers to the account.
        """
        wanted: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
            "token": (shapes.TOKENS, shapes.TEXTS),
            "created_at": (shapes.CREATED, shapes.TIMESTAMPS),
            "expires_at": (shapes.EXPIRES, shapes.TIMESTAMPS),
            "last_accessed": (shapes.LAST_ACCESSED, shapes.TIMESTAMPS),
            "ip_address": (shapes.IP_ADDRESSES, ()),
            "user_agent": (shapes.USER_AGENTS, ()),
        }
        columns = {name: shapes.find_column(table, *how) or "" for name, how in wanted.items()}
        columns["user_id"] = owner
        expiry = shapes.find_column(table, shapes.EXPIRES)
        if expiry and not columns["expires_at"]:
            self.doubts.append(
                f"token_columns.expires_at: {table.fullname}.{expiry} is of the type "
                f"{table.columns[expiry].kind}, which is not read as a timestamp"
            )
        self.values |= {"tokens": table.name, "token_columns": columns}
        timestamps = ("created_at", "expires_at", "last_accessed")
        naive = [columns[key] for key in timestamps if columns[key]]
        naive = [name for name in naive if shapes.is_naive(table.columns[name])]
        if naive:
            self.session_obstacles.append(
                f"naive_timestamps: {table.fullname}.{', '.join(naive)} has no time zone; "
                "is it utc?"
            )
        if shapes.may_be_digest(table.columns[columns["token"]]):
            self.doubts.append(
                f"token_digest: {table.fullname}.{columns['token']} may hold digests of tokens, "
                "such as sha256"
            )
        if name := shapes.find_column(table, shapes.REVOKED):
            self.doubts.append(
                f"tokens: {table.fullname}.{name} may mark revoked sessions, which are listed as "
                "if it did not"
            )
        if len(table.primary_key) > 1:
            self.found.append(
                f"the primary key of {table.fullname} is composite: {', '.join(table.primary_key)}"
            )

    def _roles(self) -> None:
        links = shapes.role_links(self.tables, self.users)
        column = shapes.find_column(self.users, shapes.ROLE_COLUMNS, shapes.ROLE_KINDS)
        if column is not None and links:
            fullname = f"{self.users.fullname}.{column}"
            listed = ", ".join(link.table.fullname for link in links)
            self.doubts.append(f"roles: both {fullname} and {listed} look like roles of accounts")
            links = [link for link in links if link.names_roles]
        if len(links) > 1:
            listed = ", ".join(link.table.fullname for link in links)
            self.doubts.append(f"roles: several tables look like links to roles: {listed}")
        elif links:
            link = links[0]
            values = {"table": link.table.name, "user_id": link.user_id, "role": link.role}
            if link.roles is not None:
                values |= {"role_table": link.roles.name, "role_key": link.role_key}
                values["role_name"] = link.role_name
            self.values |= {"roles": "link", "role_link": values}
            self.found.append(f"{link.table.fullname} links accounts to roles")
            if required := shapes.further_required(link):
                self.doubts.append(
                    f"roles: {link.table.fullname}.{', '.join(required)} has no default, so that "
                    "'admin grant-role' fails"
                )
        elif column is not None:
            self.values |= {"roles": "column", "role_column": column}
            self.found.append(f"{self.users.fullname}.{column} is a role")
        else:
            self._other_roles()

    def _other_roles(self) -> None:
        """Find possible roles that a mapping cannot express."""
        for key in self.users.keys:
            if shapes.may_be_roles(key.table[1]):
                self.doubts.append(
                    f"roles: {self.users.fullname}.{', '.join(key.columns)} refers to "
                    f"{key.table[1]}, but a mapping cannot express roles by a key in the account"
                )
        for table in self.tables:
            if table.refers_to(self.users) and shapes.links_to_roles(table):
                schemas = {table.schema, *(key.table[0] for key in table.keys)}
                reason = "no key or unique index of it is of an account and a role"
                reason = "its tables are in several schemas" if len(schemas) > 1 else reason
                self.doubts.append(
                    f"roles: {table.fullname} may link accounts to roles, but {reason}"
                )
        name = shapes.find_column(self.users, shapes.ROLE_COLUMNS)
        if name is not None:
            self.doubts.append(
                f"roles: {self.users.fullname}.{name} is of the type "
                f"{self.users.columns[name].kind} and not the name of a role"
            )

    def _further_columns(self) -> None:
        known = set(self.values["user_columns"].values())
        created: dict[str, str | bool] = {}
        for name, column in self.users.columns.items():
            if name in known or not column.required:
                continue
            fullname = f"{self.users.fullname}.{name}"
            template: Optional[str | bool] = None
            if shapes.is_text(column):
                template = self._template(name)
            elif name == shapes.find_column(self.users, shapes.DELETED_FLAGS, shapes.FLAGS):
                template = False
            if shapes.is_timestamp(column):
                template = "{now}"
            if template is None:
                self.doubts.append(
                    f"create_values.{name}: {fullname} has no default; "
                    "'admin create' requires a value for it"
                )
            else:
                created[name] = template
                shown = repr(template) if isinstance(template, str) else str(template).lower()
                self.found.append(f"{fullname} has no default: create_values sets it to {shown}")
        if created:
            self.values["create_values"] = created

    def _template(self, name: str) -> Optional[str]:
        length = self.users.columns[name].length
        plain = shapes.without_joints(name)
        if plain in map(shapes.without_joints, LOGIN_NAMES):
            return "{email}" if length is None or length >= LONG_ENOUGH else "{local_part}"
        return "{local_part}" if plain in map(shapes.without_joints, PERSON_NAMES) else None

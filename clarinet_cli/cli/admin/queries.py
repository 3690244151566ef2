"""Commands that query accounts."""

from dataclasses import replace
from typing import Annotated, Optional

import typer

from clarinet_cli.cli.completion import complete_roles
from clarinet_cli.cli.options import Limit, Output, UserArgument, columns_option, sort_option
from clarinet_cli.cli.presentation import Presentation, RowLimit
from clarinet_cli.cli.render import render, render_list, render_rows
from clarinet_cli.cli.runtime import Runtime

USER_COLUMNS = (
    "id",
    "email",
    "is_active",
    "is_superuser",
    "roles",
    "last_login",
    "sessions",
    "last_accessed",
    "is_verified",
)


async def list_accounts(
    runtime: Runtime,
    all_users: Annotated[
        bool, typer.Option("--all", help="All accounts, not only superusers.")
    ] = False,
    role: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME", help="Accounts with this role.", autocompletion=complete_roles
        ),
    ] = None,
    inactive: Annotated[
        bool, typer.Option("--inactive", help="Accounts that are not active.")
    ] = False,
    search: Annotated[
        Optional[str],
        typer.Option(metavar="TEXT", help="Accounts whose address contains this text."),
    ] = None,
    limit: Limit = None,
    sort: Annotated[Optional[str], sort_option("UserRow")] = None,
    columns: Annotated[Optional[str], columns_option("UserRow")] = None,
    output: Output = None,
) -> None:
    """List the superusers, or all accounts, by address unless --sort says otherwise.

    --role, --inactive and --search apply to all accounts, superusers or not.

    Example: clarinet admin list --all -o csv
    """
    from clarinet_cli.results import UserRow
    from clarinet_cli.services.accounts.queries import stream_accounts
    from clarinet_cli.types import ANY_USER, UserFilter

    most = RowLimit(limit)
    presentation = Presentation(
        UserRow, USER_COLUMNS, kept=2, empty="no accounts", chosen=columns, order=sort
    )
    where = UserFilter(inactive_only=inactive, role=role, search=search)
    every = all_users or where != ANY_USER
    where = replace(where, sort=presentation.sort, limit=most.fetched)
    rows = stream_accounts(runtime.settings, all_users=every, where=where)
    await render_rows(runtime, rows, output, presentation, most)


async def show(runtime: Runtime, user: UserArgument, output: Output = None) -> None:
    """Show one account: flags, roles, password scheme, sessions by state.

    Example: clarinet admin show ada@example.org
    """
    from clarinet_cli.services.accounts.queries import account_detail
    from clarinet_cli.services.unit_of_work import unit_of_work

    async with unit_of_work(runtime.settings) as work:
        detail = await account_detail(work, user)
    render(runtime, detail, output)


async def roles(
    runtime: Runtime,
    limit: Limit = None,
    sort: Annotated[Optional[str], sort_option("RoleRow")] = None,
    columns: Annotated[Optional[str], columns_option("RoleRow")] = None,
    output: Output = None,
) -> None:
    """List the roles, with the number of accounts that have each.

    Example: clarinet admin roles
    """
    from clarinet_cli.results import RoleRow
    from clarinet_cli.services.accounts.queries import roles_with_members
    from clarinet_cli.services.unit_of_work import run_operation

    own = runtime.settings.capabilities.own_schema
    empty = "no roles: 'clarinet db init' creates them" if own else "no roles"
    presentation = Presentation(RoleRow, empty=empty, chosen=columns, order=sort)
    rows = await run_operation(runtime.settings, roles_with_members)
    render_list(runtime, rows, output, presentation, RowLimit(limit))

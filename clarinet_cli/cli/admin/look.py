"""Commands that look at accounts."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.completion import complete_roles
from clarinet_cli.cli.groups import run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.options import Output, UserArgument
from clarinet_cli.cli.output import Listing, render, render_stream

USER_COLUMNS = ("id", "email", "is_active", "roles", "sessions", "last_accessed")


def list_accounts(
    all_users: Annotated[
        bool, typer.Option("--all", help="All accounts, not only superusers.")
    ] = False,
    role: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME", help="Accounts that have this role.", autocompletion=complete_roles
        ),
    ] = None,
    inactive: Annotated[
        bool, typer.Option("--inactive", help="Accounts that can't log in.")
    ] = False,
    search: Annotated[
        Optional[str], typer.Option(metavar="TEXT", help="Accounts with this in their address.")
    ] = None,
    output: Output = None,
) -> None:
    """Show the superusers, or all accounts.

    With --role, --inactive or --search it looks at all accounts, superusers or not.

    Example: clarinet admin list --all -o csv
    """
    from clarinet_cli.results import UserRow
    from clarinet_cli.types import ANY_USER, UserFilter
    from clarinet_cli.utils.admin import stream_admin_users

    where = UserFilter(inactive_only=inactive, role=role, search=search)
    everybody = all_users or where != ANY_USER
    rows = stream_admin_users(project_settings(), all_users=everybody, where=where)
    listing = Listing(UserRow, columns=USER_COLUMNS, empty="no accounts")
    run(render_stream(rows, output, listing))


def show(user: UserArgument, output: Output = None) -> None:
    """Show one account: flags, roles, how its password is hashed, sessions by state.

    Example: clarinet admin show ada@example.org
    """
    from clarinet_cli.services.accounts.queries import account_detail

    render(run(account_detail(project_settings(), user)), output)


def roles(output: Output = None) -> None:
    """Show all roles, with the number of accounts that have each.

    Example: clarinet admin roles
    """
    from clarinet_cli.results import RoleRow
    from clarinet_cli.services.accounts.queries import roles_with_members

    listing = Listing(RoleRow, empty="no roles: 'clarinet db init' makes them")
    render(run(roles_with_members(project_settings())), output, listing)

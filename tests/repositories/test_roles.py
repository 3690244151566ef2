"""Queries on roles and on who has them."""

import asyncio

import pytest

from clarinet_cli.exceptions import ConflictError
from clarinet_cli.repositories.roles import RoleRepository
from tests import oracle
from tests.support import Project

DEFAULT_ROLES = {"doctor", "auto", "admin", "expert", "ordinator"}


async def test_names_are_those_of_the_table(project: Project) -> None:
    """All roles of a ready database are named, and one that is added later."""
    oracle.rows(project, "INSERT INTO userrole VALUES ('reader')")
    async with oracle.writing(project) as session:
        assert await RoleRepository(session).names() == DEFAULT_ROLES | {"reader"}


async def test_roles_of_a_user_are_its_own(project: Project) -> None:
    """A user has the roles of its links; a user without links has none."""
    user_id = oracle.add_user(project, "ada@clarinet.example")
    oracle.rows(project, "INSERT INTO userroleslink VALUES (?, 'doctor')", user_id)
    admin_id = oracle.user_id_of(project, "admin@clarinet.ru")
    nobody = oracle.add_user(project, "bob@clarinet.example")
    async with oracle.writing(project) as session:
        roles = RoleRepository(session)
        found = [await roles.for_user(user) for user in (user_id, admin_id, nobody)]
    assert found == [{"doctor"}, {"admin"}, set()]


async def test_missing_roles_are_added_and_others_left(project: Project) -> None:
    """Roles that exist already, also when named twice, are left as they are."""
    async with oracle.writing(project) as session:
        await RoleRepository(session).add_missing(["doctor", "reader", "reader", "admin"])
    names = [row[0] for row in oracle.rows(project, "SELECT name FROM userrole ORDER BY name")]
    assert names == sorted(DEFAULT_ROLES | {"reader"})


async def test_adding_no_role_changes_nothing(project: Project) -> None:
    """An empty list is accepted."""
    before = oracle.snapshot(project)
    async with oracle.writing(project) as session:
        await RoleRepository(session).add_missing([])
    assert oracle.snapshot(project) == before


async def test_two_processes_may_add_the_same_role_at_once(project: Project) -> None:
    """Each on its own connection, both succeed, and the role is there once."""

    async def add(own: str) -> None:
        async with oracle.writing(project) as session:
            await RoleRepository(session).add_missing([own, "reader"])

    await asyncio.gather(*(add(f"own{number}") for number in range(4)))
    names = [row[0] for row in oracle.rows(project, "SELECT name FROM userrole")]
    assert sorted(names) == sorted(DEFAULT_ROLES | {"reader", "own0", "own1", "own2", "own3"})


async def test_granting_adds_what_is_missing(project: Project) -> None:
    """A role that the user has already stays, the new one is added, other users get none."""
    oracle.add_user(project, "bob@clarinet.example")
    admin_id = oracle.user_id_of(project, "admin@clarinet.ru")
    async with oracle.writing(project) as session:
        await RoleRepository(session).grant(admin_id, {"admin", "doctor"})
    assert oracle.roles_of(project, "admin@clarinet.ru") == {"admin", "doctor"}
    assert oracle.roles_of(project, "bob@clarinet.example") == set()


async def test_granting_twice_changes_nothing(project: Project) -> None:
    """A second grant of the same role is harmless."""
    admin_id = oracle.user_id_of(project, "admin@clarinet.ru")
    before = oracle.snapshot(project)
    async with oracle.writing(project) as session:
        await RoleRepository(session).grant(admin_id, ["admin"])
        await RoleRepository(session).grant(admin_id, ["admin"])
    assert oracle.snapshot(project) == before


async def test_granting_an_unknown_role_is_a_conflict(project: Project) -> None:
    """Foreign keys are enforced on both backends: no link to a role that does not exist."""
    admin_id = oracle.user_id_of(project, "admin@clarinet.ru")
    before = oracle.snapshot(project)
    with pytest.raises(ConflictError):
        async with oracle.writing(project) as session:
            await RoleRepository(session).grant(admin_id, ["doctor", "astronaut"])
    assert oracle.snapshot(project) == before


async def test_a_repository_does_not_commit(project: Project) -> None:
    """Roles and grants are gone when the caller rolls back."""
    admin_id = oracle.user_id_of(project, "admin@clarinet.ru")
    before = oracle.snapshot(project)
    async with oracle.writing(project, dry_run=True) as session:
        roles = RoleRepository(session)
        await roles.add_missing(["reader"])
        await roles.grant(admin_id, ["reader"])
        assert await roles.for_user(admin_id) == {"admin", "reader"}
    assert oracle.snapshot(project) == before

"""``admin list``: who is in it, by flag, role and part of the address."""

import pytest

from tests.cli.scenes import ADA, ADMIN, assert_failed, populate
from tests.support import Project

ELAN = "Ëlan_100%@example.org"
DORA = "dora@example.org"
ZOE = "zoe@example.org"


@pytest.fixture
def crowd(project: Project) -> Project:
    """Two superusers, one of them inactive, two ordinary accounts and an inactive doctor."""
    populate(project)
    project.add_user(ELAN)
    users = [project.add_user(DORA, active=False), project.add_user(ZOE, superuser=True)]
    project.rows('UPDATE "user" SET is_active = false WHERE email = ?', ZOE)
    for user in users:
        project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, 'doctor')", user)
    return project


LISTS = {
    "": {ADMIN, ZOE},
    "--all": {ADMIN, ZOE, ADA, ELAN, DORA},
    "--role doctor": {DORA, ZOE},
    "--role admin": {ADMIN},
    "--role expert": set(),
    "--inactive": {DORA, ZOE},
    "--inactive --role doctor --search zoe": {ZOE},
    "--search example": {ADA, ELAN, DORA, ZOE},
    "--search EXAMPLE.org": {ADA, ELAN, DORA, ZOE},
    "--search ËLAN": {ELAN},
    "--search ëlan": {ELAN},
    "--search _": {ELAN},
    "--search 0%@": {ELAN},
    "--search nobody": set(),
    "--all --role doctor --inactive": {DORA, ZOE},
}


def test_the_options_choose_who_is_listed(crowd: Project) -> None:
    """They narrow each other, ``%`` and ``_`` are letters, and case does not count."""
    for options, expected in LISTS.items():
        rows = crowd.json("admin", "list", *options.split())
        assert {row["email"] for row in rows} == expected, options
        assert [row["email"] for row in rows] == [
            row["email"] for row in crowd.json("admin", "list", "--all") if row["email"] in expected
        ]


def test_sessions_are_those_that_the_server_accepts(crowd: Project) -> None:
    """Idle and expired ones are none, and an inactive account has none at all."""
    crowd.add_session(crowd.add_user("off@example.org", active=False))
    found = {row["email"]: row for row in crowd.json("admin", "list", "--all")}
    assert {email: row["sessions"] for email, row in found.items()} == {
        **dict.fromkeys((ELAN, DORA, ZOE, "off@example.org"), 0),
        ADA: 1,
        ADMIN: 1,
    }
    assert found["off@example.org"]["last_accessed"] is not None
    for email in (ADA, "off@example.org"):
        assert found[email]["last_login"] < found[email]["last_accessed"]
    assert found[ELAN]["last_login"] is None
    assert found[ELAN]["last_accessed"] is None
    assert found[DORA]["roles"] == ["doctor"]


def test_a_role_that_does_not_exist_is_not_found(crowd: Project) -> None:
    """An unknown role is an error, not an empty list; so is text that no database can store."""
    assert_failed(crowd.run("admin", "list", "--role", "docter"), 3)
    assert_failed(crowd.run("admin", "list", "--role", "doc\0tor"), 3)
    for text in ("a\0b", "\udcff"):
        result = crowd.run("admin", "list", "--search", text)
        assert_failed(result, 2)
        assert "--search" in result.stderr


def test_the_members_of_roles_are_counted(crowd: Project) -> None:
    """All of them, and those that can log in; roles without any are there too."""
    crowd.rows("INSERT INTO userrole (name) VALUES ('reader')")
    found = {
        row["name"]: (row["members"], row["active_members"]) for row in crowd.json("admin", "roles")
    }
    empty = dict.fromkeys(("auto", "expert", "ordinator", "reader"), (0, 0))
    assert found == {**empty, "admin": (1, 1), "doctor": (2, 0)}
    assert list(found) == sorted(found)

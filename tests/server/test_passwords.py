"""Who was given a password by the tool logs in with it at the server."""

from tests.server.visits import accepts, log_in, logged_in, who_is
from tests.support import PASSWORD, Project

ADMIN = "admin@clarinet.ru"


def test_the_first_administrator_logs_in(project: Project) -> None:
    """'db init' made the account: its password opens the door, and no other one does."""
    cookie = logged_in(project, ADMIN, PASSWORD)
    found = who_is(project, cookie)
    assert found is not None
    assert (found["email"], found["is_active"], found["is_superuser"], found["is_verified"]) == (
        ADMIN,
        True,
        True,
        True,
    )
    assert log_in(project, ADMIN, PASSWORD + "x") is None
    assert accepts(project, cookie)
    assert not accepts(project, cookie[:-1])

"""The note about the server's cache, shown by each command that changes rights."""

from pathlib import Path

import pytest

from tests.cli.scenes import ADMIN
from tests.support import PASSWORD, Project

# The note follows what a change reports, which other tests compare on both backends.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"])
GRACE = "grace@example.org"
NOTE = "the server may use cached permissions and sessions for up to 17 s"
LINES = {
    "grant-role": f"admin grant-role {GRACE} expert",
    "revoke-role": f"admin revoke-role {GRACE} doctor",
    "promote": f"admin promote {GRACE}",
    "demote": f"admin demote {GRACE}",
    "activate": f"admin activate {GRACE}",
    "deactivate": f"admin deactivate {GRACE}",
    "delete": f"admin delete {GRACE} --yes",
    "reset-password": f"admin reset-password {GRACE} --any-user --keep-sessions --password-stdin",
    "create --update": f"admin create --email {GRACE} --update",
    "apply": "admin apply FILE",
    "apply --prune": "admin apply FILE --prune",
    "ensure": "admin ensure --password-stdin",
}


@pytest.fixture
def told(project: Project, request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The words of a command that changes an account."""
    name = str(request.param)
    user = project.add_user(
        GRACE, superuser=name == "demote", active=name not in ("activate", "ensure")
    )
    project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, ?)", user, "doctor")
    if name == "ensure":
        project.rows("DELETE FROM userroleslink WHERE role_name = ?", "admin")
        project.rows('DELETE FROM "user" WHERE email = ?', ADMIN)
    row = ADMIN if name == "apply --prune" else f"{GRACE}"
    flags = "" if name == "apply --prune" else ', "is_verified": true'
    (tmp_path / "file.json").write_text(f'[{{"email": "{row}"{flags}}}]')
    return LINES[name].replace("FILE", str(tmp_path / "file.json")).split()


@pytest.mark.parametrize("told", LINES, indirect=True)
def test_every_change_of_rights_comes_with_the_time_of_the_cache(
    project: Project, told: list[str]
) -> None:
    """Once, with the seconds of the settings; not in a dry run, nor when nothing changed."""
    project.write_settings(f'session_cache_ttl_seconds = 17\nadmin_email = "{GRACE}"\n')
    assert NOTE not in project.run(*told, "--dry-run", stdin=PASSWORD).stderr
    result = project.run(*told, stdin=PASSWORD)
    assert result.code == 0, result
    assert result.stderr.count(NOTE) == 1
    if "reset-password" not in told:
        assert NOTE not in project.run(*told, stdin=PASSWORD).stderr


@pytest.mark.parametrize("told", LINES, indirect=True)
@pytest.mark.parametrize("off", [0, -1])
def test_without_a_cache_there_is_nothing_to_say(
    project: Project, told: list[str], off: int
) -> None:
    """0 and less turn it off in the server."""
    project.write_settings(f'session_cache_ttl_seconds = {off}\nadmin_email = "{GRACE}"\n')
    result = project.run(*told, stdin=PASSWORD)
    assert (result.code, "cache" in result.stderr) == (0, False), result

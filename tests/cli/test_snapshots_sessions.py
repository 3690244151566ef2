"""What the commands that list and end sessions show, on each backend."""

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.cli.scenes import ADA, ADMIN, populate
from tests.cli.shown import shown_in_turn
from tests.support import Project

SCENES = {
    "look": [
        "session list",
        "session list -o json --limit 1",
        "session list -o jsonl --state idle --state expired",
        "session list -o jsonl --state idle,expired",
        "session list --state idle,wrong",
        "session list -o plain --ip 127.0.0.0/8 --state idle",
        "session list --ip 10.9.8",
        "session list -o csv --agent mozilla",
        f"session list -o plain --user {ADA} --older-than 1d",
        "session list --ip 10.9.8.7",
        "session list -o json --ip 10.9.8.7",
        "-q session list",
        "session show 11111111",
        "session show 33333333 -o json",
        "session show 99999999",
        "session show 1",
        f"session show 44444444 --user {ADA}",
    ],
    "revoke by filter": [
        "session revoke",
        "session revoke --ip 127.0.0.1",
        "session revoke --ip 127.0.0.0/8 --dry-run",
        "session revoke 33333333 --ip 127.0.0.1",
        "session revoke --state expired --yes -o json",
        "session revoke --state expired --yes",
        "session revoke-all --keep-current 99999999 --yes",
        "session revoke-all --keep-current 44444444 --dry-run",
    ],
    "revoke": [
        "session revoke 11111111 99999999",
        "session revoke 11111111 22222222 --dry-run",
        "session revoke 11111111",
        f"session revoke 22222222 --user {ADA} -o json",
        "session revoke 11111111",
        "session revoke-all",
        f"session revoke-all --except {ADMIN} --dry-run",
        f"session revoke-all --except {ADMIN} --yes",
        "session revoke-all --yes -o json",
        "session revoke-all --yes",
        "session revoke-all",
    ],
}


@pytest.mark.parametrize("scene", SCENES)
def test_what_is_shown(project: Project, scene: str, snapshot: SnapshotAssertion) -> None:
    """Exit codes, data and messages are those of the snapshot."""
    populate(project)
    assert shown_in_turn(project, SCENES[scene]) == snapshot


def test_an_ambiguous_id(project: Project, snapshot: SnapshotAssertion) -> None:
    """The matches are distinguished by time and user, without the whole tokens."""
    ada = populate(project)
    project.add_session(ada, token="samesame-1")
    project.add_session(project.add_user("bob@example.org"), token="samesame-2")
    lines = [
        "session show samesame",
        "session revoke 11111111 samesame",
        "session revoke samesame --user bob@example.org -o plain",
        "session revoke samesame -o plain",
    ]
    assert shown_in_turn(project, lines) == snapshot

"""``session stats -o prometheus``: counts for the node exporter's textfile collector."""

import re

from tests.support import Project

LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"^([a-z_]+)(\{{{LABEL}(?:,{LABEL})*\}})? (\S+)$")


def samples(text: str) -> dict[str, float]:
    """Parse the exposition format; a line that is neither comment nor sample fails."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.match(r"^# (HELP|TYPE) clarinet_[a-z_]+ .+$", line)
            continue
        match = SAMPLE.match(line)
        assert match, line
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_metrics_have_the_numbers_of_the_json(server_project: Project) -> None:
    """Each state, age and user count of the JSON document is a sample."""
    stats = server_project.json("session", "stats")
    result = server_project.run("session", "stats", "-o", "prometheus")
    assert (result.code, result.stderr) == (0, "")
    found = samples(result.stdout)
    for state in ("active", "idle", "expired", "blocked"):
        assert found[f'clarinet_sessions{{state="{state}"}}'] == stats[state]
    for age, count in stats["age"].items():
        assert found[f'clarinet_session_age{{age="{age}"}}'] == count
    assert found["clarinet_session_users"] == stats["users"] == 4
    assert found["clarinet_session_life_longest_seconds"] == stats["longest_life_seconds"]


def test_metrics_of_an_empty_database_leave_out_what_is_unknown(project: Project) -> None:
    """Without sessions there is no average life and no next expiry, and the counts are 0."""
    found = samples(project.run("session", "stats", "-o", "prometheus").stdout)
    assert found['clarinet_sessions{state="active"}'] == 0
    assert not [name for name in found if "life" in name or "expiry" in name]


def test_grouped_metrics_carry_strangers_text_as_a_label(project: Project) -> None:
    """Quotes, backslashes, newlines and escape sequences of a user agent stay one label."""
    user = project.add_user("ada@clarinet.example")
    project.add_session(user, user_agent='a"b\\c\nd\x1b[31m')
    result = project.run("session", "stats", "--by", "agent", "-o", "prometheus")
    found = samples(result.stdout)
    name = r'clarinet_sessions_by_agent{agent="a\"b\\c\\x0ad\\x1b[31m",state="active"}'
    assert found[name] == 1


def test_other_commands_have_no_metrics(project: Project) -> None:
    """The format is for the stats only: elsewhere it is a usage error."""
    result = project.run("admin", "list", "-o", "prometheus")
    assert (result.code, result.stdout) == (2, "")
    assert "prometheus" in result.stderr

"""The errors: immutable constants, exit codes, and their meaning."""

import pickle
from collections.abc import Iterator

import pytest

from clarinet_cli import exceptions
from clarinet_cli.exceptions import ClarinetError, ExitCode
from tests.support import run_in_process

# The table of exit codes that scripts rely on, with a word of each meaning.
CODES = {
    0: "done",
    1: "failed",
    2: "usage",
    3: "does not exist",
    4: "conflict",
    5: "refused",
    6: "the check failed",
    7: "database",
    75: "busy",
    78: "configuration",
    129: "SIGHUP",
    130: "SIGINT",
    131: "SIGQUIT",
    143: "SIGTERM",
}
CLASS_CODES = {
    "ClarinetError": 1,
    "InvalidInputError": 2,
    "NotFoundError": 3,
    "ConflictError": 4,
    "RefusedError": 5,
    "CheckFailedError": 6,
    "UnreachableError": 7,
    "LoginRefusedError": 7,
    "UnknownDatabaseError": 7,
    "StandbyError": 7,
    "BusyError": 75,
    "JobRunningError": 75,
    "ConfigurationError": 78,
    "PreventedError": 1,
    "NoSpaceError": 1,
    "ClocksDifferError": 1,
}
CONSTANTS = {
    "FAILURE": "ClarinetError",
    "INVALID": "InvalidInputError",
    "NOT_FOUND": "NotFoundError",
    "CONFLICT": "ConflictError",
    "REFUSED": "RefusedError",
    "CHECK_FAILED": "CheckFailedError",
    "UNREACHABLE": "UnreachableError",
    "LOGIN_REFUSED": "LoginRefusedError",
    "UNKNOWN_DATABASE": "UnknownDatabaseError",
    "STANDBY": "StandbyError",
    "BUSY": "BusyError",
    "JOB_RUNNING": "JobRunningError",
    "CONFIGURATION": "ConfigurationError",
    "PREVENTED": "PreventedError",
    "NO_SPACE": "NoSpaceError",
    "CLOCKS_DIFFER": "ClocksDifferError",
}


def constant(name: str) -> ClarinetError:
    """Return one of the shared templates."""
    found = getattr(exceptions, name)
    assert isinstance(found, ClarinetError)
    return found


def state(error: ClarinetError) -> tuple[object, ...]:
    """Return everything of an exception that its use could change."""
    return (
        error.message,
        error.hint,
        error.args,
        error.__cause__,
        error.__context__,
        error.__traceback__,
        dict(vars(error)),
        getattr(error, "__notes__", None),
    )


def fail_with(error: ClarinetError) -> None:
    """Raise an error from another one, as the code does."""
    try:
        _ = CODES[-1]
    except KeyError as cause:
        raise error from cause


def subclasses(kind: type[ClarinetError]) -> Iterator[type[ClarinetError]]:
    """Yield a class and all below it that the module defines; services may refine them."""
    if kind.__module__ == exceptions.__name__:
        yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def test_no_constant_is_forgotten_here() -> None:
    """The tests below see every template that the module offers."""
    found = {name for name in vars(exceptions) if isinstance(getattr(exceptions, name), Exception)}
    assert found == set(CONSTANTS)
    assert {kind.__name__ for kind in subclasses(ClarinetError)} == set(CLASS_CODES)


@pytest.mark.parametrize("name", CONSTANTS)
def test_using_a_constant_does_not_change_it(name: str) -> None:
    """The second user of a template sees nothing of the first one's case."""
    template = constant(name)
    before = state(template)
    first = template.with_context("no user 'ada'", hint="look at the list")
    with pytest.raises(type(template), match="no user 'ada'"):
        fail_with(first)
    second = template.with_context("no user 'bob'")
    assert state(template) == before
    assert (first.message, first.hint) == ("no user 'ada'", "look at the list")
    assert (second.message, second.hint) == ("no user 'bob'", template.hint)
    assert isinstance(first.__cause__, KeyError)
    assert (second.__cause__, second.__context__, second.__traceback__) == (None, None, None)


@pytest.mark.parametrize("name", CONSTANTS)
def test_context_makes_a_fresh_exception_of_the_same_class(name: str) -> None:
    """with_context returns a new object each time, with its text as the exception's own."""
    template = constant(name)
    made = [template.with_context("a file is missing") for _ in range(2)]
    assert {type(error).__name__ for error in made} == {CONSTANTS[name]}
    assert len({id(error) for error in (template, *made)}) == 3
    assert str(made[0]) == made[0].message == "a file is missing"


def test_context_keeps_the_hint_unless_it_brings_one() -> None:
    """The template's hint is kept unless a more specific one is given."""
    busy = exceptions.BUSY
    assert busy.hint
    assert busy.with_context("locked").hint == busy.hint
    assert busy.with_context("locked", hint="wait").hint == "wait"
    assert busy.with_context("locked", hint="").hint == ""


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_template_has_words_for_people(name: str) -> None:
    """Raised without context by mistake it still has a message of one line."""
    text = str(constant(name))
    assert text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(("name", "code"), CLASS_CODES.items())
def test_a_class_has_its_exit_code(name: str, code: int) -> None:
    """Each kind of error ends the process with its own code."""
    assert getattr(exceptions, name)("what happened").exit_code == code


@pytest.mark.parametrize("name", CONSTANTS)
def test_an_error_survives_a_process_boundary(name: str) -> None:
    """A copy made by pickle has the same class, message and code."""
    error = constant(name).with_context("away", hint="try again")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), copy.message, copy.hint) == (type(error), "away", "try again")


def test_the_exit_codes_are_those_of_the_contract() -> None:
    """All codes of the contract, and no other."""
    assert {code.value for code in ExitCode} == set(CODES)


@pytest.mark.parametrize(("code", "words"), CODES.items())
def test_a_code_has_a_meaning(code: int, words: str) -> None:
    """The meaning of each code is one line."""
    meaning = ExitCode(code).meaning
    assert words in meaning
    assert len(meaning.splitlines()) == 1


def test_the_table_of_codes_can_be_asked_for() -> None:
    """'clarinet help exit-codes' is the same table, as data."""
    result = run_in_process(["help", "exit-codes", "-o", "json"])
    assert (result.code, result.stderr) == (0, "")
    assert result.json == [{"code": code.value, "meaning": code.meaning} for code in ExitCode]

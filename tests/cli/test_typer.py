"""The private parts of Typer that the command line uses are where it expects them."""

import inspect

import typer
from typer import _completion_shared, core
from typer._click import shell_completion

from clarinet_cli.cli.app import app
from clarinet_cli.cli.commands import NoCoercion

MOVED = "Typer has moved {}: adapt clarinet_cli/cli/commands.py, or keep the cap on typer"


def root_command() -> core.TyperGroup:
    """Return the root group as a run builds it."""
    group = typer.main.get_command(app)
    assert isinstance(group, core.TyperGroup)
    return group


def test_a_parameter_passes_through_what_was_given() -> None:
    """The coercion of a parameter is its attribute ``_runtime_param``."""
    group = root_command()
    parameter = next(item for item in group.params if item.name == "color")
    assert hasattr(parameter, "_runtime_param"), MOVED.format("_runtime_param")
    NoCoercion.apply([parameter])
    context = group.context_class(group)
    value = parameter.process_value(context, "purple")
    assert value == "purple", MOVED.format("where a parameter reads _runtime_param")


def test_the_named_command_is_kept_in_the_context() -> None:
    """Between parsing and invoking, a group keeps the command in ``_protected_args``."""
    group = root_command()
    context = group.make_context("clarinet", ["help", "exit-codes"])
    assert getattr(context, "_protected_args", None) == ["help"], MOVED.format("_protected_args")
    assert context.args == ["exit-codes"], MOVED.format("the words after the command")


def test_completion_finds_the_command_and_the_parameter_of_a_word() -> None:
    """The private functions of Typer that completion and its installation use."""
    group = root_command()
    words = ["session", "list", "-o"]
    context = shell_completion._resolve_context(group, {}, "clarinet", words)
    asked, incomplete = shell_completion._resolve_incomplete(context, words, "js")
    assert context.command_path == "clarinet session list", MOVED.format("_resolve_context")
    assert (asked.name, incomplete) == ("output", "js"), MOVED.format("_resolve_incomplete")
    assert {"bash", "zsh", "fish"} <= set(_completion_shared._completion_scripts)
    parameters = inspect.signature(_completion_shared.install).parameters
    assert {"shell", "prog_name", "complete_var"} <= set(parameters), MOVED.format("install")


def test_the_help_of_a_parameter_asks_for_its_type_and_range() -> None:
    """The help of Typer calls two methods of a parameter, which are replaced."""
    parameter = next(item for item in root_command().params if item.name == "color")
    assert hasattr(parameter, "display_type_rich"), MOVED.format("display_type_rich")
    range_of = getattr(parameter, "_get_number_range_help_str", None)
    assert callable(range_of), MOVED.format("_get_number_range_help_str")

"""The private parts of Typer that the command line uses are where it expects them."""

import typer
from typer import core

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

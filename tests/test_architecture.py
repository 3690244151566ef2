"""The architecture rules, checked in the source: permitted imports and forbidden constructs."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "clarinet_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_STATEMENTS_OF_A_TRY = 2
JOBS = {  # of the services: what needs several transactions, or yields rows while one is open
    "accounts/apply.py",
    "accounts/first_superuser.py",
    "accounts/queries.py",
    "backup/make.py",
    "backup/restore.py",
    "bootstrap.py",
    "checks/contents.py",
    "checks/doctor.py",
    "checks/repair.py",
    "locks.py",
    "readiness.py",
    "schema/authoring.py",
    "schema/preconditions.py",
    "schema/commands.py",
    "schema/ensure.py",
    "schema/findings.py",
    "schema/runner.py",
    "schema/state.py",
    "session_cleanup/cleanup.py",
    "sessions/concurrent_logins.py",
    "sessions/queries.py",
    "sessions/revoke.py",
    "sessions/revoke_all.py",
    "shell.py",
    "unit_of_work.py",
    "vacuum.py",
}
SESSION_MAKERS = {
    "AsyncSession",
    "Session",
    "async_sessionmaker",
    "async_scoped_session",
    "sessionmaker",
    "scoped_session",
    "create_engine",
    "create_async_engine",
    "make_engine",
    "get_engine",
    "get_connection",
    "get_async_session",
    "open_session",
}


class Import(NamedTuple):
    """One imported name and where."""

    name: str
    place: str


def name_of(file: Path) -> str:
    """Return a file's place in the package, as messages show it."""
    return file.relative_to(PACKAGE.parent).as_posix()


@functools.cache
def parsed(file: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(file.read_text("utf-8"), str(file))


@functools.cache
def nodes(file: Path) -> list[ast.AST]:
    """Return all nodes of a module's syntax tree."""
    return list(ast.walk(parsed(file)))


def imports(file: Path) -> Iterator[Import]:
    """Yield all that a module imports, at the top, in functions and for the type checker."""
    package = file.relative_to(PACKAGE.parent).parent.parts
    for node in nodes(file):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, f"{name_of(file)}:{node.lineno}")


def offences(part: str, *forbidden: str) -> list[str]:
    """Return where a part of the package imports one of these modules."""
    return [
        f"{place} imports {name}"
        for file in MODULES
        if name_of(file).startswith(f"clarinet_cli/{part}")
        for name, place in imports(file)
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


def importers(module: str) -> set[str]:
    """Return the files that import a module or something in it."""
    return {
        name_of(file)
        for file in MODULES
        for name, _ in imports(file)
        if name == module or name.startswith(f"{module}.")
    }


def places(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Yield all nodes of one kind in the package with their places."""
    for file in MODULES:
        for node in nodes(file):
            if isinstance(node, kind):
                yield f"{name_of(file)}:{getattr(node, 'lineno', 0)}", node


def called(node: ast.Call) -> str:
    """Return the last part of the name that a call calls."""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def test_the_rules_see_the_package() -> None:
    """A rule that reads no file would hold for everything."""
    parts = {name_of(file).split("/")[1] for file in MODULES}
    assert {"cli", "services", "repositories", "models", "database", "utils"} <= parts
    assert "clarinet_cli/cli/app.py" in importers("typer")
    assert "clarinet_cli/repositories/users.py" in importers("sqlalchemy")
    assert offences("repositories", "clarinet_cli.models")


# --- Who imports whom ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    ["clarinet_cli.repositories", "clarinet_cli.models", "sqlalchemy", "sqlmodel", "alembic"],
)
def test_the_command_line_knows_no_tables(module: str) -> None:
    """Words in, words out: cli imports no repository, no model and no database library."""
    assert offences("cli/", module) == []


@pytest.mark.parametrize("module", ["typer", "rich", "clarinet_cli.cli"])
def test_services_know_no_terminal(module: str) -> None:
    """The rules can be used by another program: services import nothing of a terminal."""
    assert offences("services/", module) == []


def test_services_use_no_entry_point() -> None:
    """Services import nothing of utils but the logger: the entry points call services."""
    found = [
        place
        for place in offences("services/", "clarinet_cli.utils")
        if " clarinet_cli.utils.logger" not in place
    ]
    assert found == []


def test_only_jobs_open_transactions() -> None:
    """Operations take the unit of work that their caller has opened."""
    openers = {
        "unit_of_work",
        "run_operation",
        "open_database",
        "open_pinned_session",
        "get_connection",
        "get_engine",
    }
    found = {
        place.partition(":")[0].removeprefix("clarinet_cli/services/")
        for place, node in places(ast.Call)
        if isinstance(node, ast.Call)
        and place.startswith("clarinet_cli/services/")
        and called(node) in openers
    }
    assert found - JOBS == set()


@pytest.mark.parametrize("module", ["clarinet_cli.services", "clarinet_cli.cli", "typer", "rich"])
def test_repositories_know_only_the_models(module: str) -> None:
    """Queries use neither services nor the command line."""
    assert offences("repositories/", module) == []


@pytest.mark.parametrize("part", ["models/", "exceptions.py", "types.py", "results/", "settings"])
def test_the_lowest_packages_import_no_others(part: str) -> None:
    """The lowest packages import no higher layer."""
    above = ["cli", "services", "repositories", "utils"]
    assert offences(part, *(f"clarinet_cli.{name}" for name in above)) == []


@pytest.mark.parametrize("part", ["utils/", "database/", "filesystem/"])
def test_entry_points_know_no_command_line(part: str) -> None:
    """Another Python program can use them: nothing of the terminal is imported."""
    assert offences(part, "typer", "rich", "clarinet_cli.cli") == []


# What the lower packages may import of this project; the rest is above them.
LOWER_PACKAGES = {
    "filesystem": {"exceptions", "filesystem"},
    "models": {"mapping", "models", "networks", "timefmt", "types"},
    "utils/log": {"exceptions", "filesystem", "settings", "utils.log_file"},
    "database": {
        "database",
        "exceptions",
        "filesystem",
        "mapping",
        "models",
        "networks",
        "settings",
        "signals",
        "sources",
        "spelling",
        "types",
        "utils.logger",
    },
    "repositories": {
        "exceptions",
        "models",
        "networks",
        "repositories",
        "results",
        "spelling",
        "timefmt",
        "types",
        "utils.logger",
    },
}


@pytest.mark.parametrize("part", LOWER_PACKAGES)
def test_lower_packages_import_nothing_above_them(part: str) -> None:
    """Their imports form no cycle: each package has a list of those below it."""
    allowed = [f"clarinet_cli.{name}" for name in LOWER_PACKAGES[part]]
    found = [
        f"{place} imports {name}"
        for file in MODULES
        if name_of(file).startswith(f"clarinet_cli/{part}")
        for name, place in imports(file)
        if name.startswith("clarinet_cli.")
        and not any(f"{name}.".startswith(f"{module}.") for module in allowed)
    ]
    assert found == []


def package_of(module: str) -> str:
    """Return the package, or module of the root, that a module is in; the logger is a leaf."""
    parts = module.split(".")[1:]
    return (
        "logger"
        if parts[:1] == ["utils"] and parts[1:2] in (["logger"], ["log_file"])
        else parts[0]
    )


def test_packages_form_no_cycle() -> None:
    """Each package and module of the root can be read knowing only those that it imports."""
    graph: dict[str, set[str]] = {}
    for file in MODULES:
        module = name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if "." not in module:
            continue
        used = {package_of(name) for name, _ in imports(file) if name.startswith("clarinet_cli.")}
        graph.setdefault(package_of(module), set()).update(used - {package_of(module)})
    assert graph["cli"] >= {"services"}
    while leaves := {package for package, used in graph.items() if not used & graph.keys()}:
        for package in leaves:
            del graph[package]
    assert graph == {}


def test_loguru_has_one_door() -> None:
    """Only utils/logger.py imports loguru."""
    assert importers("loguru") == {"clarinet_cli/utils/logger.py"}


def test_alembic_has_one_room() -> None:
    """Only the migrations import alembic."""
    rooms = {Path(module).parent.as_posix() for module in importers("alembic")}
    assert rooms == {"clarinet_cli/services/schema"}


def test_no_module_imports_click() -> None:
    """Typer carries its own copy; the other one may not be installed."""
    assert importers("click") == set()


def test_the_package_itself_imports_nothing() -> None:
    """Its first file is the version only."""
    assert list(imports(PACKAGE / "__init__.py")) == []


# --- Forbidden constructs ------------------------------------------------------------------


@pytest.mark.parametrize("part", ["repositories/", "services/", "models/"])
def test_only_the_opener_of_a_session_commits(part: str) -> None:
    """Repositories and services do not call commit."""
    found = [
        place
        for place, node in places(ast.Call)
        if isinstance(node, ast.Call)
        and place.startswith(f"clarinet_cli/{part}")
        and called(node) == "commit"
    ]
    assert found == []


def test_there_is_no_bare_except() -> None:
    """Each handler names what it handles."""
    found = [
        place
        for place, node in places(ast.ExceptHandler)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or any(
                isinstance(part, ast.Name) and part.id == "BaseException"
                for part in ast.walk(node.type)
            )
        )
    ]
    assert found == []


def test_only_the_last_handler_catches_everything() -> None:
    """'except Exception' is only where commands end."""
    found = {
        place.partition(":")[0]
        for place, node in places(ast.ExceptHandler)
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id == "Exception"
    }
    assert found == {"clarinet_cli/cli/execution.py"}


def test_no_module_prints() -> None:
    """Output has one writer; a print() would mix with the data."""
    found = [
        place
        for place, node in places(ast.Call)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"print", "pprint", "breakpoint"}
    ]
    assert found == []


def test_a_try_is_short() -> None:
    """Two calls at most, so that it is clear which of them failed."""
    found = [
        f"{place}: {len(node.body)} statements"
        for place, node in places(ast.Try)
        if isinstance(node, ast.Try) and len(node.body) > MAX_STATEMENTS_OF_A_TRY
    ]
    assert found == []


def test_no_session_is_global() -> None:
    """Engines and sessions are made in functions, and no function keeps one outside."""
    found = []
    for file in MODULES:
        functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        waiting: list[ast.AST] = [parsed(file)]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Global):
                found.append(f"{name_of(file)}:{node.lineno}: global")
            if isinstance(node, ast.Call) and called(node) in SESSION_MAKERS:
                found.append(f"{name_of(file)}:{node.lineno}: {called(node)}")
            waiting += [
                child for child in ast.iter_child_nodes(node) if not isinstance(child, functions)
            ]
    globals_ = [place for place, _ in places(ast.Global)]
    assert found + globals_ == []


def test_queries_get_their_session() -> None:
    """A helper that uses a session has it from its caller, or opened it itself."""
    found = [
        f"{name_of(file)}:{function.lineno}: {function.name}"
        for file in MODULES
        for function in functions_of(parsed(file))
        if "session" in names_loaded(function) and "session" not in names_bound(file, function)
    ]
    assert found == []


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def names_loaded(function: ast.AST) -> set[str]:
    """Return the variables that a function reads."""
    return {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def names_bound(file: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the parameters and variables of a function and of those around it."""
    around = [
        other
        for other in functions_of(parsed(file))
        if other.lineno <= function.lineno and (other.end_lineno or 0) >= (function.end_lineno or 0)
    ]
    bound: set[str] = set()
    for scope in around:
        for node in ast.walk(scope):
            if isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
    return bound


def test_sql_is_in_the_repositories() -> None:
    """Services build no statement: they call named queries."""
    makers = {"select", "insert", "update", "delete", "text"}
    found = [
        f"{place} imports {name}"
        for file in MODULES
        if name_of(file).startswith(("clarinet_cli/services/", "clarinet_cli/utils/"))
        for name, place in imports(file)
        if name.startswith(("sqlalchemy", "sqlmodel")) and name.rpartition(".")[2] in makers
    ]
    assert found == []


def test_the_migrations_are_no_package() -> None:
    """A file alembic/__init__.py would shadow the library in a checkout."""
    assert not (PACKAGE.parent / "alembic" / "__init__.py").exists()
    assert (PACKAGE.parent / "alembic" / "env.py").is_file()

"""Finding the Alembic environment that a project uses."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from configparser import Error as ConfigParserError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tomllib import TOMLDecodeError
from tomllib import loads as load_toml
from typing import Optional

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from clarinet_cli.exceptions import CONFIGURATION, FAILURE, RefusedError
from clarinet_cli.filesystem.trust import require_code
from clarinet_cli.services.schema.scripts import has_clarinet_base, is_readable, read_scripts
from clarinet_cli.utils.logger import logger

# The errors of parsing revisions, which are arbitrary Python files.
READ_ERRORS = (
    CommandError,
    RevisionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)
QUIET = Namespace(quiet=True)  # Alembic's own messages would mix with the data on stdout
INI_FILE = "alembic.ini"
TOML_FILE = "pyproject.toml"
SCRIPT_DIRECTORY = "alembic"
COMMON_DIRECTORIES = (SCRIPT_DIRECTORY, "migrations")  # of servers' environments
INI_TEXT = """\
# Made by 'clarinet migrate init'. The database is the one of settings.toml.
[alembic]
script_location = %(here)s/alembic
path_separator = os
"""
HERE = "%(here)s/"


@dataclass(frozen=True, slots=True)
class Environment:
    """An Alembic environment.

    Attributes:
        project: The project directory.
        location: The directory with ``env.py`` and ``versions``.
        packaged: True for the environment inside this package, which is never written to.
        settings_file: The file that names the location; None for the packaged environment.
        version_locations: The directories of the revisions.
        import_locations: Directories that Alembic prepends to ``sys.path``.
        recursive: Whether subdirectories contain revisions too.
    """

    project: Path
    location: Path
    packaged: bool
    _config: Config
    settings_file: Optional[Path] = None
    version_locations: tuple[Path, ...] = ()
    import_locations: tuple[Path, ...] = ()
    recursive: bool = False

    @property
    def scripts(self) -> ScriptDirectory:
        """The revisions, parsed from their files without running them.

        Raises:
            ClarinetError: A file cannot be read, or a revision follows one that is missing.
        """
        try:
            scripts = read_scripts(self.location, self.version_locations, recursive=self.recursive)
            list(scripts.walk_revisions())
        except READ_ERRORS as error:
            logger.bind(reported=True).opt(exception=error).error("reading the revisions")
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise FAILURE.with_context(
                f"the revisions in {self.version_locations[0]} cannot be read: {reason}"
            ) from error
        return scripts

    @property
    def config(self) -> Config:
        """The configuration with which Alembic runs the environment's files.

        Raises:
            RefusedError: Another user owns the files or may write them.
        """
        if not self.packaged:
            require_code(self._code_files(), self.project)
            if self.location.stat().st_uid != os.geteuid():  # who could not remove __pycache__
                sys.dont_write_bytecode = True
        return self._config

    def refusal(self) -> Optional[str]:
        """Return why the environment's files are not trusted, or None if they are."""
        try:
            _ = self.config
        except RefusedError as error:
            return error.message
        return None

    def _code_files(self) -> Iterator[Path]:
        """Yield the files that Alembic may run, and their directories."""
        yield self.project
        if self.settings_file is not None:
            yield from (self.settings_file.resolve().parent, self.settings_file)
        for directory in (self.location, *self.version_locations, *self.import_locations):
            real = directory.resolve()
            parents = [path for path in real.parents if path.is_relative_to(self.project)]
            yield from parents or [real.parent]
            yield real
        for directory in self.import_locations:
            yield from (file.resolve() for file in directory.glob("*.py"))
        for directory in {self.location, *self.version_locations}:
            for file in directory.rglob("*"):
                yield file.resolve()
                yield file.resolve().parent


def packaged_location() -> Path:
    """Return the directory of the environment in this package or in a source checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / SCRIPT_DIRECTORY
    return installed if installed.is_dir() else package.parent / SCRIPT_DIRECTORY


def find_environment(project: Path) -> Environment:
    """Return the project's environment of Clarinet if it has one, else the packaged one.

    It contains Clarinet's first revision. A server's environment in the same directory is
    ignored, and none of its code is run.

    Args:
        project: The project directory.

    Raises:
        ConfigurationError: ``alembic.ini`` or ``pyproject.toml`` cannot be read.
    """
    own = project_config(project)
    location = script_location(own, project) if own is not None else None
    if own is not None and location is not None and has_clarinet_base(location):
        return _own_environment(own, location, project)
    if own is not None:
        logger.info(f"{location}: not a Clarinet environment, using the packaged one")
    location, config = packaged_location(), Config()
    _set_location(config, location)
    return Environment(
        project=project,
        location=location,
        packaged=True,
        _config=config,
        version_locations=(location / "versions",),
    )


def foreign_environment(project: Path) -> Optional[Path]:
    """Return another program's Alembic environment in a project directory, if there is one.

    Args:
        project: The project directory.

    Returns:
        Its directory, or the file that names a directory that is missing.

    Raises:
        ConfigurationError: ``alembic.ini`` or ``pyproject.toml`` cannot be read.
    """
    own = project_config(project)
    if own is not None:
        location = script_location(own, project)
        if location is not None and location.is_dir():
            return None if has_clarinet_base(location) else location
        if read_optional_text(project / INI_FILE) in {INI_TEXT, ini_text(project)}:
            return None  # of this package; its directory was removed
        return project / (INI_FILE if own.config_file_name else TOML_FILE)
    for name in COMMON_DIRECTORIES:
        location = project / name
        scripts = [location / "env.py", *(location / "versions").glob("*.py")]
        if any(map(is_readable, scripts)) and not has_clarinet_base(location):
            return location
    return None


def _own_environment(config: Config, location: Path, project: Path) -> Environment:
    """Return a project's environment with all paths made absolute."""
    file = project / (INI_FILE if config.config_file_name else TOML_FILE)
    try:
        versions, imports, recursive = (
            config.get_version_locations_list() or [],
            config.get_prepend_sys_paths_list() or [],
            config.get_alembic_boolean_option("recursive_version_locations"),
        )
    except (CommandError, ConfigParserError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CONFIGURATION.with_context(f"{file}: {reason}") from None
    found = Environment(
        project=project,
        location=location,
        packaged=False,
        _config=config,
        settings_file=file,
        version_locations=tuple(
            (project / name).resolve() for name in versions or [str(location / "versions")]
        ),
        import_locations=tuple((project / name).resolve() for name in imports),
        recursive=recursive,
    )
    _set_location(config, location)
    config.set_main_option("sourceless", "false")  # byte code cannot be parsed, only run
    paths = {
        "version_locations": found.version_locations,
        "prepend_sys_path": found.import_locations,
    }
    text = "".join(str(path) for several in paths.values() for path in several)
    separators = {"newline": "\n", ":": ":", ";": ";"}  # by Alembic's names for them
    name = next((name for name, mark in separators.items() if mark not in text), "newline")
    config.set_main_option("path_separator", name)
    for option, several in paths.items():
        config.set_main_option(option, separators[name].join(map(str, several)).replace("%", "%%"))
    return found


def _set_location(config: Config, location: Path) -> None:
    config.cmd_opts = QUIET
    config.set_main_option("script_location", str(location).replace("%", "%%"))


def project_config(project: Path) -> Optional[Config]:
    """Return the Alembic configuration of a project, or None if it has none.

    Args:
        project: The project directory.

    Raises:
        ConfigurationError: ``pyproject.toml`` cannot be read.
    """
    ini, toml = project / INI_FILE, project / TOML_FILE
    if ini.is_file():
        config = Config(ini)
        # Alembic does not escape '%' in %(here)s; errors are reported when values are read.
        with suppress(ConfigParserError, UnicodeError, OSError):
            here = str(ini.parent.absolute()).replace("%", "%%")
            config.file_config.set("DEFAULT", "here", here)
        return config
    if not toml.is_file():
        return None
    try:
        content = load_toml(toml.read_text("utf-8"))
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise CONFIGURATION.with_context(f"{toml}: not valid TOML: {error}") from None
    except OSError as error:
        raise CONFIGURATION.with_context(f"{toml}: {error.strerror}") from None
    return Config(toml_file=toml) if "alembic" in content.get("tool", {}) else None


def ini_text(project: Path) -> str:
    """Return the ``alembic.ini`` of a new environment.

    ``%(here)s`` is left out if the path contains a '%', on which the ``alembic`` command fails.

    Args:
        project: The project directory.
    """
    return INI_TEXT.replace(HERE, "") if "%" in str(project) else INI_TEXT


def script_location(config: Config, project: Path) -> Optional[Path]:
    """Return the directory of a project's scripts; relative names start at the project.

    Args:
        config: What ``project_config`` returned.
        project: The project directory.

    Raises:
        ConfigurationError: The value cannot be read.
    """
    try:
        value = config.get_alembic_option("script_location")
    except (ConfigParserError, ValueError, KeyError) as error:
        name = INI_FILE if config.config_file_name else TOML_FILE
        reason = str(error).partition("\n")[0]
        raise CONFIGURATION.with_context(f"{project / name}: {reason}") from None
    return project / str(value) if value else None


def read_optional_text(path: Path) -> Optional[str]:
    """Return the content of a text file, or None if there is no such file."""
    return path.read_text("utf-8", errors="replace") if path.is_file() else None

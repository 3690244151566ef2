"""Which Alembic environment a project uses, and how it gets one of its own."""

import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from configparser import Error as ConfigParserError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tomllib import TOMLDecodeError
from tomllib import loads as load_toml
from typing import Optional
from uuid import uuid4

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from clarinet_cli.exceptions import CONFIGURATION, CONFLICT, FAILURE, REFUSED, RefusedError
from clarinet_cli.filesystem.ownership import make_directory, open_file, os_error_reason
from clarinet_cli.filesystem.trust import require_code, require_project_place
from clarinet_cli.results import FileChange
from clarinet_cli.services.schema.scripts import is_readable, read_scripts
from clarinet_cli.utils.logger import logger

# What reading files can raise that are Python of anybody's making.
UNREADABLE = (
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
SILENT = Namespace(quiet=True)  # Alembic's own messages would stand between the data
BASE_REVISION = "c1a90e7f0001"
INI_FILE = "alembic.ini"
TOML_FILE = "pyproject.toml"
SCRIPT_DIRECTORY = "alembic"
USUAL_DIRECTORIES = (SCRIPT_DIRECTORY, "migrations")  # where servers keep their environment
INI_TEXT = """\
# Made by 'clarinet migrate init'. The database is the one of settings.toml.
[alembic]
script_location = %(here)s/alembic
path_separator = os
"""
HERE = "%(here)s/"
FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Environment:
    """An Alembic environment.

    Attributes:
        project: The project directory.
        location: The directory with ``env.py`` and ``versions``.
        packaged: True for the one inside this package, which nobody writes into.
        settings_file: What names the location; None for the packaged one.
        version_locations: The directories of the revisions.
        import_locations: Directories that Alembic puts before all others in Python's search.
        recursive: Whether revisions lie in directories below these too.
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
        """The revisions, read from their files, none of which is run.

        Raises:
            ClarinetError: A file can't be read, or a revision follows one that is missing.
        """
        try:
            scripts = read_scripts(self.location, self.version_locations, recursive=self.recursive)
            list(scripts.walk_revisions())
        except UNREADABLE as error:
            logger.bind(reported=True).opt(exception=error).error("reading the revisions")
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise FAILURE.with_context(
                f"the revisions in {self.version_locations[0]} can't be read: {reason}"
            ) from error
        return scripts

    @property
    def config(self) -> Config:
        """Alembic's own configuration, with which it runs the environment's files.

        Raises:
            RefusedError: They belong to others, or others may write them.
        """
        if not self.packaged:
            require_code(self._code(), self.project)
            _leave_no_byte_code(self.location)
        return self._config

    def why_not_run(self) -> Optional[str]:
        """Return why the environment's files would not be run, or None."""
        try:
            _ = self.config
        except RefusedError as error:
            return error.message
        return None

    def _code(self) -> Iterator[Path]:
        """Yield what Alembic could run, and where it lies."""
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
    """Return the environment inside this package, or the one of a source checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / SCRIPT_DIRECTORY
    return installed if installed.is_dir() else package.parent / SCRIPT_DIRECTORY


def find_environment(project: Path) -> Environment:
    """Return the project's own environment if it has one of ours, else the packaged one.

    An environment is ours when it contains our first revision. A server's environment in
    the same directory is left alone, and none of its code is run.

    Args:
        project: The project directory.

    Raises:
        ConfigurationError: ``alembic.ini`` or ``pyproject.toml`` can't be read.
    """
    own = _project_config(project)
    location = _script_location(own, project) if own is not None else None
    if own is not None and location is not None and _has_our_base(location):
        return _own_environment(own, location, project)
    if own is not None:
        logger.info(f"{location}: not an environment of ours, using the packaged one")
    return _packaged_environment(project)


def foreign_environment(project: Path) -> Optional[Path]:
    """Return the Alembic environment of another program in a project directory, if any.

    Args:
        project: The project directory.

    Returns:
        Its directory, or the file that names one elsewhere.

    Raises:
        ConfigurationError: ``alembic.ini`` or ``pyproject.toml`` can't be read.
    """
    own = _project_config(project)
    if own is not None:
        location = _script_location(own, project)
        if location is not None and location.is_dir():
            return None if _has_our_base(location) else location
        if _content(project / INI_FILE) in {INI_TEXT, _ini_text(project)}:
            return None  # ours, and its files are gone
        return project / (INI_FILE if own.config_file_name else TOML_FILE)
    for name in USUAL_DIRECTORIES:
        location = project / name
        scripts = [location / "env.py", *(location / "versions").glob("*.py")]
        if any(map(is_readable, scripts)) and not _has_our_base(location):
            return location
    return None


def _leave_no_byte_code(location: Path) -> None:
    """Make no ``__pycache__`` among somebody else's files: its owner could not remove it."""
    if location.stat().st_uid != os.geteuid():
        sys.dont_write_bytecode = True


def init_environment(project: Path, *, force: bool, dry_run: bool = False) -> list[FileChange]:
    """Put an environment for *project* into its directory.

    Args:
        project: The project directory.
        force: Overwrite files that differ.
        dry_run: Change nothing, report what would be done.

    Raises:
        RefusedError: The project has an environment that is not ours.
        ConflictError: A file is there already with other content, and *force* is off;
            nothing was written.
    """
    own = _project_config(project)
    location = _script_location(own, project) if own is not None else None
    target = location or project / SCRIPT_DIRECTORY
    in_use = own is not None or any((target / "versions").glob("*.py"))
    if ":" in target.name or (in_use and target == foreign_environment(project)):
        raise refused_foreign(target)  # with a colon it is a package of that program
    wanted = dict(_files_of_a_new_environment(project))
    differing = [path for path, text in wanted.items() if _content(path) not in (None, text)]
    if differing and not force:
        raise CONFLICT.with_context(
            "exists already with other content: " + ", ".join(map(str, differing)),
            hint="--force overwrites it",
        )
    require_project_place(wanted, project)
    changes = []
    for path, text in wanted.items():
        before = _content(path)
        result = "unchanged" if before == text else "created" if before is None else "updated"
        if result != "unchanged" and not dry_run:
            _write(path, text)
        verb = result.removesuffix("d")
        changes.append(
            FileChange(str(path), f"would_{verb}" if dry_run and result != "unchanged" else result)
        )
    return changes


def refused_foreign(location: Path) -> RefusedError:
    """Return the error that says that an environment is another program's.

    Args:
        location: Its directory, or the file that names one.
    """
    return REFUSED.with_context(
        f"{location} is the migration environment of another program, and is left alone",
        hint="that program's revisions are written by 'alembic revision' "
        "and applied by 'alembic upgrade head'",
    )


def _packaged_environment(project: Path) -> Environment:
    location, config = packaged_location(), Config()
    _complete(config, location)
    return Environment(
        project=project,
        location=location,
        packaged=True,
        _config=config,
        version_locations=(location / "versions",),
    )


def _own_environment(config: Config, location: Path, project: Path) -> Environment:
    """Tie a project's configuration to its directories, wherever the process stands."""
    file = project / (INI_FILE if config.config_file_name else TOML_FILE)
    try:
        versions, imports, recursive = _locations(config)
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
    _complete(config, location)
    config.set_main_option("sourceless", "false")  # byte code can't be read without running it
    paths = {
        "version_locations": found.version_locations,
        "prepend_sys_path": found.import_locations,
    }
    name, separator = _separator(path for several in paths.values() for path in several)
    config.set_main_option("path_separator", name)
    for option, several in paths.items():
        config.set_main_option(option, separator.join(map(str, several)).replace("%", "%%"))
    return found


def _locations(config: Config) -> tuple[list[str], list[str], bool]:
    """Return the directories of revisions, those for imports, and whether to go below."""
    return (
        config.get_version_locations_list() or [],
        config.get_prepend_sys_paths_list() or [],
        config.get_alembic_boolean_option("recursive_version_locations"),
    )


def _separator(paths: Iterable[Path]) -> tuple[str, str]:
    """Return a separator that is in no path, after its name in Alembic's settings."""
    text = "".join(map(str, paths))
    names = {"newline": "\n", ":": ":", ";": ";"}
    return next((item for item in names.items() if item[1] not in text), ("newline", "\n"))


def _complete(config: Config, location: Path) -> None:
    config.cmd_opts = SILENT
    config.set_main_option("script_location", str(location).replace("%", "%%"))


def _project_config(project: Path) -> Optional[Config]:
    ini, toml = project / INI_FILE, project / TOML_FILE
    if ini.is_file():
        config = Config(ini)
        _escape_here(config, ini)
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


def _escape_here(config: Config, ini: Path) -> None:
    """Have ``%(here)s`` mean the directory also when there is a '%' in its name.

    Alembic hands it to the reader of the file as it is, which then fails. What is wrong with
    the file itself is said where its values are read.
    """
    with suppress(ConfigParserError, UnicodeError, OSError):
        here = str(ini.parent.absolute()).replace("%", "%%")
        config.file_config.set("DEFAULT", "here", here)


def _ini_text(project: Path) -> str:
    """Return the file that is put into a project; 'alembic' fails on ``%(here)s`` with a '%'."""
    return INI_TEXT.replace(HERE, "") if "%" in str(project) else INI_TEXT


def _script_location(config: Config, project: Path) -> Optional[Path]:
    """Return where a project keeps its scripts; a relative name starts at the project."""
    try:
        value = config.get_alembic_option("script_location")
    except (ConfigParserError, ValueError, KeyError) as error:
        name = INI_FILE if config.config_file_name else TOML_FILE
        reason = str(error).partition("\n")[0]
        raise CONFIGURATION.with_context(f"{project / name}: {reason}") from None
    return project / str(value) if value else None


def _has_our_base(location: Path) -> bool:
    ours = re.compile(rf"^revision\b[^=\n]*=\s*[\"']{BASE_REVISION}[\"']", re.MULTILINE)
    files = (file for file in (location / "versions").glob("*.py") if is_readable(file))
    return any(ours.search(file.read_text("utf-8", errors="replace")) for file in files)


def _files_of_a_new_environment(project: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files; what the project says of its scripts' place is followed."""
    source = packaged_location()
    config = _project_config(project)
    target = _script_location(config, project) if config is not None else None
    if target is None or _content(project / INI_FILE) in {INI_TEXT, _ini_text(project)}:
        yield project / INI_FILE, _ini_text(project)
    scripts = (source / "env.py", source / "script.py.mako", *sorted(source.glob("versions/*.py")))
    for file in scripts:
        place = target or project / SCRIPT_DIRECTORY
        yield place / file.relative_to(source), file.read_text("utf-8")


def _content(path: Path) -> Optional[str]:
    return path.read_text("utf-8", errors="replace") if path.is_file() else None


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all; it belongs to the owner of its directory."""
    new = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        _write_new(new, text.encode())
        new.replace(path)
    except OSError as error:
        logger.bind(reported=True).error(f"writing {path}: {error}")
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise FAILURE.with_context(f"{path}: {os_error_reason(error, path)}") from error


def _write_new(path: Path, content: bytes) -> None:
    make_directory(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(open_file(path, flags, mode=FILE_MODE), "wb") as file:
        file.write(content)

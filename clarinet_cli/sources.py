"""The sources of settings: the environment and the files of a project directory.

The source with the highest precedence gives the whole value of a key: tables are not merged.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tomllib import TOMLDecodeError, load
from typing import Any, NamedTuple, Optional

from dotenv.parser import Binding, parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from clarinet_cli.exceptions import CONFIGURATION, ClarinetError, ConfigurationError
from clarinet_cli.filesystem.ownership import os_error_reason, sudo_hint
from clarinet_cli.filesystem.trust import require_settings_file

DOTENV_FILE = ".env"
TOML_FILES = ("settings.custom.toml", "settings.toml")
ENVIRONMENT = "environment"


class _NoMerge(PydanticBaseSettingsSource):
    """Omits keys of sources with a higher precedence, since pydantic-settings merges tables."""

    def __call__(self) -> dict[str, Any]:
        """Return the keys that no source with a higher precedence has."""
        values = super().__call__()  # type: ignore[safe-super]  # each class below has another base
        return {key: value for key, value in values.items() if key not in self.current_state}


class _Variables(_NoMerge, EnvSettingsSource):
    """Variables, examined for each key only if they set one: that takes most of a load."""

    def __call__(self) -> dict[str, Any]:
        """Return the keys that no source with a higher precedence has."""
        variables = {f"{self.env_prefix}{key}".lower() for key in self.settings_cls.model_fields}
        return {} if variables.isdisjoint(self.env_vars) else super().__call__()


class _Environment(_Variables):
    """Environment variables."""


class _DotEnv(_Variables, DotEnvSettingsSource):
    """A ``.env`` file."""


class _Toml(PydanticBaseSettingsSource):
    """A TOML file; the letter case of a key does not matter, and the first of two is used.

    The class of pydantic-settings examines each field of the settings several times, which took
    a third of a load.

    Args:
        settings_cls: The settings class.
        path: The file, which may be missing.
    """

    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        super().__init__(settings_cls)
        self.toml_data: dict[str, Any] = {}
        if path.is_file():
            with path.open("rb") as file:
                self.toml_data = load(file)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of one key."""
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the keys that no source with a higher precedence has."""
        values: dict[str, Any] = {}
        for written, value in self.toml_data.items():
            known = written.lower() in self.settings_cls.model_fields
            key = written.lower() if known else written
            if key not in self.current_state:
                values.setdefault(key, value)
        return values


def sources(
    settings_cls: type[BaseSettings], project: Path
) -> list[tuple[str, PydanticBaseSettingsSource]]:
    """Return the sources with their names for messages, highest precedence first.

    Args:
        settings_cls: The settings class.
        project: The directory of the files.

    Raises:
        ConfigurationError: A file cannot be read.
        RefusedError: A file is not trusted; see ``clarinet_cli.filesystem.trust``.
    """
    return [(name, build()) for name, build in _builders(settings_cls, project)]


def readable_sources(
    settings_cls: type[BaseSettings], project: Path
) -> tuple[list[tuple[str, PydanticBaseSettingsSource]], dict[str, ClarinetError]]:
    """Return the sources that can be read, highest precedence first, and the errors of the others.

    Args:
        settings_cls: The settings class.
        project: The directory of the files.
    """
    found: list[tuple[str, PydanticBaseSettingsSource]] = []
    problems: dict[str, ClarinetError] = {}
    for name, build in _builders(settings_cls, project):
        try:
            found.append((name, build()))
        except ClarinetError as error:
            problems[name] = error
    return found, problems


def find_origin(settings_cls: type[BaseSettings], key: str, project: Path) -> str:
    """Return the file or variable that sets a key: the source with the highest precedence.

    Args:
        settings_cls: The settings class.
        key: The key.
        project: The directory of the files.
    """
    for name, source in readable_sources(settings_cls, project)[0]:
        try:
            found = key in source()
        except SettingsError:
            found = True
        if found:
            prefix = settings_cls.model_config.get("env_prefix", "")
            return f"{prefix}{key}".upper() if name == ENVIRONMENT else name
    return "settings"


def settings_files(project: Path) -> list[Path]:
    """Return the settings files, which need not exist, highest precedence first.

    Args:
        project: The directory of the files.
    """
    return [project / name for name in (DOTENV_FILE, *TOML_FILES)]


def _builders(
    settings_cls: type[BaseSettings], project: Path
) -> list[tuple[str, Callable[[], PydanticBaseSettingsSource]]]:
    """Return the name of each source, highest precedence first, with a function that reads it."""
    dotenv, *tomls = settings_files(project)
    return [
        (ENVIRONMENT, lambda: _Environment(settings_cls)),
        (str(dotenv), partial(_dotenv_source, settings_cls, dotenv)),
        *((str(path), partial(_toml_source, settings_cls, path)) for path in tomls),
    ]


class WrittenKey(NamedTuple):
    """A key in a source, whether it is a known one or not.

    Attributes:
        source: The name of the source for messages.
        written: The key as it is written there.
        key: The key, inside a table as ``table.key``; None for a variable without the prefix.
    """

    source: str
    written: str
    key: Optional[str]


def written_keys(settings_cls: type[BaseSettings], project: Path) -> Iterator[WrittenKey]:
    """Yield each key of each source that can be read.

    Args:
        settings_cls: The settings class.
        project: The directory of the files.
    """
    prefix = str(settings_cls.model_config.get("env_prefix", "")).lower()
    for name, source in readable_sources(settings_cls, project)[0]:
        if isinstance(source, _Toml):
            for key, value in source.toml_data.items():
                yield WrittenKey(name, key, key)
                for inner in value if isinstance(value, dict) else ():
                    yield WrittenKey(name, f"[{key}] {inner}", f"{key}.{inner}")
        elif isinstance(source, EnvSettingsSource):
            for variable in map(str.lower, source.env_vars):
                has_prefix = variable.startswith(prefix)
                bare = variable.removeprefix(prefix) if has_prefix else None
                yield WrittenKey(name, variable.upper(), bare)


class GivenValue(NamedTuple):
    """A value of a known key in a source.

    Attributes:
        key: The key.
        source: The file and the line, or the name of the variable.
        value: The value as written; JSON in a variable is decoded.
        problem: Why it cannot be decoded.
    """

    key: str
    source: str
    value: Any
    problem: Optional[str] = None


def given_values(settings_cls: type[BaseSettings], project: Path) -> Iterator[GivenValue]:
    """Yield each value of each source that can be read, those of the highest precedence first.

    Args:
        settings_cls: The settings class.
        project: The directory of the files.
    """
    for name, source in readable_sources(settings_cls, project)[0]:
        if isinstance(source, _Toml):
            path, data = Path(name), source.toml_data
            lines = path.read_text("utf-8").splitlines() if data else []
            for key in filter(settings_cls.model_fields.__contains__, data):
                yield GivenValue(key, _with_line(path, _line_of_key(lines, key)), data[key])
        elif isinstance(source, EnvSettingsSource):
            yield from _values_of_variables(settings_cls, name, source)


def _values_of_variables(
    settings_cls: type[BaseSettings], name: str, source: EnvSettingsSource
) -> Iterator[GivenValue]:
    prefix = str(settings_cls.model_config.get("env_prefix", ""))
    path, lines = Path(name), dict[str, int]()
    if name != ENVIRONMENT and path.is_file():
        bindings = parse_stream(io.StringIO(path.read_text("utf-8")))
        lines = {binding.key.upper(): _key_line(binding) for binding in bindings if binding.key}
    for key, field in settings_cls.model_fields.items():
        text, _, is_complex = source.get_field_value(field, key)
        if text is None:
            continue
        variable = f"{prefix}{key}".upper()
        where = variable if name == ENVIRONMENT else _with_line(Path(name), lines.get(variable))
        try:
            value = source.prepare_field_value(key, field, text, is_complex)
        except ValueError:
            yield GivenValue(key, where, text, "not valid JSON")
        else:
            yield GivenValue(key, where, value)


def _with_line(path: Path, line: Optional[int]) -> str:
    return str(path) if line is None else f"{path}:{line}"


def _line_of_key(lines: Iterable[str], key: str) -> Optional[int]:
    """Return the line of a TOML file with a key of the top level, or with its table."""
    assigned = re.compile(rf"""\s*(["']?){key}\1\s*[=.]""")
    table = re.compile(rf"""\s*\[\s*(["']?){key}\1\s*[\].]""")
    top_level = True
    for number, line in enumerate(lines, 1):
        if table.match(line) or (top_level and assigned.match(line)):
            return number
        top_level = top_level and not line.lstrip().startswith("[")
    return None


def _key_line(binding: Binding) -> int:
    """Return the line of a variable: blank lines before it belong to it for the parser."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _dotenv_source(settings_cls: type[BaseSettings], path: Path) -> PydanticBaseSettingsSource:
    require_settings_file(path)
    if path.exists() and not path.is_file():
        raise CONFIGURATION.with_context(f"{path}: not a file")
    try:
        _require_parsable(path)
        return _DotEnv(settings_cls, env_file=path, env_file_encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _require_parsable(path: Path) -> None:
    """Refuse a ``.env`` with an invalid line, for which python-dotenv only logs a warning."""
    _refuse_byte_order_mark(path)
    text = path.read_text("utf-8") if path.is_file() else ""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise CONFIGURATION.with_context(
                f"{path}: line {binding.original.line} is not KEY=value"
            )


def _toml_source(settings_cls: type[BaseSettings], path: Path) -> PydanticBaseSettingsSource:
    require_settings_file(path)
    if path.exists() and not path.is_file():
        raise CONFIGURATION.with_context(f"{path}: not a file")
    try:
        _refuse_byte_order_mark(path)
        return _Toml(settings_cls, path)
    except TOMLDecodeError as error:
        raise CONFIGURATION.with_context(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    except (RecursionError, ValueError):
        raise CONFIGURATION.with_context(
            f"{path}: not valid TOML: nested too deeply, or a number too long"
        ) from None


def _refuse_byte_order_mark(path: Path) -> None:
    """Refuse a byte order mark, which would become part of the first key."""
    if path.is_file() and path.read_bytes().startswith(codecs.BOM_UTF8):
        raise CONFIGURATION.with_context(
            f"{path}: begins with a byte order mark", hint="save it as UTF-8 without one"
        )


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigurationError:
    if not isinstance(error, OSError):
        return CONFIGURATION.with_context(f"{path}: not UTF-8 text")
    hint = sudo_hint(path) if isinstance(error, PermissionError) else None
    return CONFIGURATION.with_context(f"{path}: {os_error_reason(error, path)}", hint=hint)

"""Where settings come from: the environment and the files of a project directory.

The strongest source that has a key gives its whole value: tables are not merged.
"""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any, NamedTuple, Optional

from dotenv.parser import parse_stream
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from clarinet_cli.exceptions import CONFIGURATION, ConfigurationError
from clarinet_cli.filesystem.ownership import os_error_reason, sudo_hint
from clarinet_cli.filesystem.trust import require_settings_file

DOTENV_FILE = ".env"
TOML_FILES = ("settings.custom.toml", "settings.toml")


class _WholeValues(PydanticBaseSettingsSource):
    """Leaves out what a stronger source has: pydantic-settings would merge two tables."""

    def __call__(self) -> dict[str, Any]:
        """Return the keys that no stronger source has."""
        values = super().__call__()  # type: ignore[safe-super]  # each class below has another base
        return {key: value for key, value in values.items() if key not in self.current_state}


class _Environment(_WholeValues, EnvSettingsSource):
    """The process's variables."""


class _DotEnv(_WholeValues, DotEnvSettingsSource):
    """The variables of a ``.env``."""


class _Toml(_WholeValues, TomlConfigSettingsSource):
    """One TOML file."""


def sources(
    settings_cls: type[BaseSettings], project: Path
) -> list[tuple[str, PydanticBaseSettingsSource]]:
    """Return the sources with the names that an operator knows them by, strongest first.

    Args:
        settings_cls: The class that they fill.
        project: The directory of the files.

    Raises:
        ConfigurationError: A file can't be read.
        RefusedError: A file is not to be trusted; see ``clarinet_cli.filesystem.trust``.
    """
    for name in (DOTENV_FILE, *TOML_FILES):
        require_settings_file(project / name)
    dotenv = project / DOTENV_FILE
    found: list[tuple[str, PydanticBaseSettingsSource]] = [
        ("environment", _Environment(settings_cls)),
        (str(dotenv), _dotenv_source(settings_cls, dotenv)),
    ]
    for name in TOML_FILES:
        path = project / name
        found.append((str(path), _toml_source(settings_cls, path)))
    return found


class WrittenKey(NamedTuple):
    """A key that a source has, ours or not.

    Attributes:
        source: The source, by the name that an operator knows it by.
        written: As it is written there.
        key: The key; one inside a table as ``table.key``; None for a variable that has not
            our prefix.
    """

    source: str
    written: str
    key: Optional[str]


def written_keys(settings_cls: type[BaseSettings], project: Path) -> Iterator[WrittenKey]:
    """Yield each key that a source has.

    Args:
        settings_cls: The class that they fill.
        project: The directory of the files.
    """
    prefix = str(settings_cls.model_config.get("env_prefix", "")).lower()
    for name, source in sources(settings_cls, project):
        if isinstance(source, TomlConfigSettingsSource):
            for key, value in source.toml_data.items():
                yield WrittenKey(name, key, key)
                for inner in value if isinstance(value, dict) else ():
                    yield WrittenKey(name, f"[{key}] {inner}", f"{key}.{inner}")
        elif isinstance(source, EnvSettingsSource):
            for variable in map(str.lower, source.env_vars):
                ours = variable.startswith(prefix)
                bare = variable.removeprefix(prefix) if ours else None
                yield WrittenKey(name, variable.upper(), bare)


def _dotenv_source(settings_cls: type[BaseSettings], path: Path) -> PydanticBaseSettingsSource:
    if path.exists() and not path.is_file():
        raise CONFIGURATION.with_context(f"{path}: not a file")
    try:
        _require_parsable(path)
        return _DotEnv(settings_cls, env_file=path, env_file_encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _require_parsable(path: Path) -> None:
    """Refuse a ``.env`` with a line that its reader would pass over with a mere warning."""
    _refuse_byte_order_mark(path)
    text = path.read_text("utf-8") if path.is_file() else ""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise CONFIGURATION.with_context(
                f"{path}: line {binding.original.line} is not KEY=value"
            )


def _toml_source(settings_cls: type[BaseSettings], path: Path) -> PydanticBaseSettingsSource:
    if path.exists() and not path.is_file():
        raise CONFIGURATION.with_context(f"{path}: not a file")
    try:
        _refuse_byte_order_mark(path)
        return _Toml(settings_cls, toml_file=path)
    except TOMLDecodeError as error:
        raise CONFIGURATION.with_context(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    except (RecursionError, ValueError):
        raise CONFIGURATION.with_context(
            f"{path}: not valid TOML: nested too deeply, or a number too long"
        ) from None


def _refuse_byte_order_mark(path: Path) -> None:
    """Refuse what some editors put before the first key, which would be part of its name."""
    if path.is_file() and path.read_bytes().startswith(codecs.BOM_UTF8):
        raise CONFIGURATION.with_context(
            f"{path}: begins with a byte order mark", hint="save it as UTF-8 without one"
        )


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigurationError:
    if not isinstance(error, OSError):
        return CONFIGURATION.with_context(f"{path}: not UTF-8 text")
    hint = sudo_hint(path) if isinstance(error, PermissionError) else None
    return CONFIGURATION.with_context(f"{path}: {os_error_reason(error, path)}", hint=hint)

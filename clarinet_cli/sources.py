"""Where settings come from: the environment and the files of a project directory."""

import io
from pathlib import Path
from tomllib import TOMLDecodeError

from dotenv.parser import parse_stream
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from clarinet_cli.exceptions import CONFIGURATION, ConfigurationError

DOTENV_FILE = ".env"
TOML_FILES = ("settings.custom.toml", "settings.toml")


def sources(
    settings_cls: type[BaseSettings], project: Path
) -> list[tuple[str, PydanticBaseSettingsSource]]:
    """Return the sources with the names that an operator knows them by, strongest first.

    Args:
        settings_cls: The class that they fill.
        project: The directory of the files.

    Raises:
        ConfigurationError: A file can't be read.
    """
    dotenv = project / DOTENV_FILE
    found: list[tuple[str, PydanticBaseSettingsSource]] = [
        ("environment", EnvSettingsSource(settings_cls)),
        (str(dotenv), _dotenv_source(settings_cls, dotenv)),
    ]
    for name in TOML_FILES:
        path = project / name
        found.append((str(path), _toml_source(settings_cls, path)))
    return found


def _dotenv_source(settings_cls: type[BaseSettings], path: Path) -> PydanticBaseSettingsSource:
    if path.exists() and not path.is_file():
        raise CONFIGURATION.with_context(f"{path}: not a file")
    try:
        _require_parsable(path)
        return DotEnvSettingsSource(settings_cls, env_file=path, env_file_encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _require_parsable(path: Path) -> None:
    """Refuse a ``.env`` with a line that its reader would pass over with a mere warning."""
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
        return TomlConfigSettingsSource(settings_cls, toml_file=path)
    except TOMLDecodeError as error:
        raise CONFIGURATION.with_context(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    except (RecursionError, ValueError):
        raise CONFIGURATION.with_context(
            f"{path}: not valid TOML: nested too deeply, or a number too long"
        ) from None


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigurationError:
    reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
    return CONFIGURATION.with_context(f"{path}: {reason}")

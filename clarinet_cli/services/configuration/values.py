"""Each setting with its value and the source of it, also while some cannot be used."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Optional

from pydantic import SecretStr, ValidationError

from clarinet_cli.database.url import MASK, masked_url
from clarinet_cli.exceptions import INVALID
from clarinet_cli.mapping import Mapping
from clarinet_cli.results import SettingRow, SettingsFile
from clarinet_cli.settings import ENV_PREFIX, Settings, is_secret, problem_of
from clarinet_cli.sources import GivenValue, given_values, settings_files
from clarinet_cli.spelling import find_misspellings

DEFAULT = "default"
URL_KEYS = ("database_url", "database_read_url")
KEYS = tuple(key for key in Settings.model_fields if key != "project_dir")


class SettingsFromValues(Settings):
    """Settings made of values that were read before; ``origin`` names the sources of these."""

    reads_sources: ClassVar[bool] = False


def show_settings(
    project: Path, keys: Sequence[str] = (), *, changed: bool = False
) -> list[SettingRow]:
    """Return each setting with the source of its value.

    Args:
        project: The directory of the settings files.
        keys: Only these; the names of variables do too.
        changed: Only those that are not the default.

    Raises:
        InvalidInputError: There is no such key.
    """
    wanted = [_known_key(key) for key in keys] or KEYS
    given = strongest(given_values(Settings, project))
    rows: list[SettingRow] = []
    for key in wanted:
        default = Settings.model_fields[key].get_default(call_default_factory=True)
        value, problem, source = default, None, DEFAULT
        if key in given:
            (value, problem), source = validated(given[key], project), given[key].source
        if not changed or problem or value != default:
            rows += _rows(key, value, source, problem)
    return rows


def list_settings_files(project: Path) -> list[SettingsFile]:
    """Return the files that settings are read from, strongest first.

    Args:
        project: The directory of the settings files.
    """
    return [SettingsFile(str(path), path.exists()) for path in settings_files(project)]


def strongest(given: Iterable[GivenValue]) -> dict[str, GivenValue]:
    """Return the value that counts for each key.

    Args:
        given: The values of all sources, those of the strongest first.
    """
    found: dict[str, GivenValue] = {}
    for value in given:
        found.setdefault(value.key, value)
    return found


def validated(given: GivenValue, project: Path) -> tuple[Any, Optional[str]]:
    """Return a value as the settings would have it, or as it is written and what is wrong.

    Args:
        given: The value of one key.
        project: The directory of the settings files.
    """
    if given.problem is not None:
        return given.value, given.problem
    values: dict[str, Any] = {given.key: given.value}
    try:
        made = SettingsFromValues(project_dir=project, **values)
    except ValidationError as error:
        about_it = [item for item in error.errors() if item["loc"][:1] == (given.key,)]
        # An error of no key is about several of them: see check_settings.
        return given.value, problem_of(about_it[0]) if about_it else None
    return getattr(made, given.key), None


def _known_key(name: str) -> str:
    key = name.lower().removeprefix(ENV_PREFIX.lower())
    if key in KEYS:
        return key
    meant = find_misspellings(key, KEYS)
    hint = f"did you mean {' or '.join(meant)}?" if meant else "'clarinet config show' lists all"
    raise INVALID.with_context(f"unknown key {name!r}", hint=hint)


def _rows(key: str, value: Any, source: str, problem: Optional[str]) -> Iterator[SettingRow]:
    """Yield a row for a value, and one for each key of a table."""
    value = value.as_settings() if isinstance(value, Mapping) else value
    if not isinstance(value, dict) or is_secret(key):
        yield SettingRow(key, _shown(key, value), source, problem)
    elif not value:
        yield SettingRow(key, None, source, problem)
    else:
        for inner, inner_value in value.items():
            shown = inner_value
            if isinstance(inner_value, dict):
                shown = json.dumps(inner_value, ensure_ascii=False, default=str)
            yield SettingRow(f"{key}.{inner}", shown, source, problem)


def _shown(key: str, value: Any) -> Any:
    """Return a value as it may be shown; of a URL all but the secrets."""
    if isinstance(value, Path):
        return str(value)
    if not is_secret(key) or value is None:
        return value
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return (masked_url(text) if key in URL_KEYS else None) or MASK

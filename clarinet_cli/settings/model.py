"""The model of the settings: keys, types, defaults and limits."""

import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from clarinet_cli.exceptions import CONFIGURATION, ConfigurationError
from clarinet_cli.sources import find_origin, sources

if TYPE_CHECKING:
    from clarinet_cli.mapping import Mapping
    from clarinet_cli.types import Capabilities

ENV_PREFIX = "CLARINET_"
DEFAULT_EMAIL_DOMAIN = "clarinet.ru"
DEFAULT_ADMIN_EMAIL = f"admin@{DEFAULT_EMAIL_DOMAIN}"
LOGS = Path("logs")
DEFAULT_MAPPING = "clarinet"
BYTE_ORDER_MARK = "\ufeff"
CONTROL_NAMES = {"\r": "a carriage return", "\n": "a newline", BYTE_ORDER_MARK: "a byte order mark"}
CENTURY_DAYS = 36500  # the longest duration of a setting
# OWASP Password Storage Cheat Sheet, argon2id: minimum memory (KiB) by time cost, with a
# parallelism of 1.
OWASP_ARGON2ID_MINIMUM = {1: 47104, 2: 19456, 3: 12288, 4: 9216, 5: 7168}
# Compose files pass an empty string for a missing variable.
EmptyIsUnset = BeforeValidator(lambda value: None if value == "" else value)
# 0 disables a limit; so do negative numbers, as in the server.
NegativeIsOff = AfterValidator(lambda value: max(value, 0))


def _control_character(text: str, *, secret: bool) -> Optional[str]:
    """Return which forbidden control character a text has, and where, or None.

    In a secret only line ends at its start and end are forbidden, which come from a file.
    """
    verbs = {"begins with": text[:1], "ends with": text[-1:], "contains": "" if secret else text}
    for verb, letters in verbs.items():
        for letter in letters:
            if letter in CONTROL_NAMES or (not secret and unicodedata.category(letter) == "Cc"):
                return f"{verb} {CONTROL_NAMES.get(letter, 'a control character')}"
    return None


def _mapping(value: object) -> object:
    """Return the value of ``mapping``; only that of an application loads its model."""
    if value == DEFAULT_MAPPING:
        return value
    from clarinet_cli.mapping import parse_mapping

    return parse_mapping(value)


def _file_name(value: str) -> str:
    """Return a database's name if it can be the name of a SQLite file."""
    if "\0" in value or Path(value).name in ("", ".", ".."):
        msg = "not a valid database name"
        raise ValueError(msg)
    return value


class Settings(BaseSettings):
    """All keys that this tool reads; durations have their unit in the name or a comment.

    Args:
        project_dir: The directory of the settings files; relative paths start there.

    Raises:
        ConfigurationError: A settings file cannot be read.
        ValidationError: A value has the wrong type or is out of range.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,  # compose files pass unset variables as empty
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )
    reads_sources: ClassVar[bool] = True

    project_dir: Path = Field(exclude=True)

    debug: bool = False

    database_driver: Literal[
        "sqlite",
        "sqlite+aiosqlite",
        "postgresql",
        "postgresql+asyncpg",
        "postgresql+psycopg2",
    ] = "sqlite"
    database_name: Annotated[str, AfterValidator(_file_name)] = "clarinet"
    database_host: str = "localhost"
    database_port: int = Field(default=5432, ge=1, le=65535)
    database_username: str = "postgres"
    database_password: SecretStr = SecretStr("postgres")
    database_sslmode: Annotated[
        Optional[Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]],
        EmptyIsUnset,
    ] = None
    database_sslrootcert: Annotated[Optional[str], EmptyIsUnset] = None
    database_sslcert: Annotated[Optional[str], EmptyIsUnset] = None
    database_sslkey: Annotated[Optional[str], EmptyIsUnset] = None
    database_target_session_attrs: Annotated[
        Optional[Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]],
        EmptyIsUnset,
    ] = None
    database_url: Annotated[Optional[SecretStr], EmptyIsUnset] = None
    database_read_url: Annotated[Optional[SecretStr], EmptyIsUnset] = None

    # The name of a preset, or a ``Mapping``; the next two override its own keys.
    mapping: Annotated[Any, BeforeValidator(_mapping)] = DEFAULT_MAPPING
    session_strategy: Annotated[Optional[Literal["database", "jwt", "redis"]], EmptyIsUnset] = None
    session_lifetime_seconds: Annotated[
        Optional[Annotated[int, Field(ge=1)] | Literal["none"]], EmptyIsUnset
    ] = None

    admin_username: str = Field(default="admin", min_length=1)
    admin_email: Annotated[Optional[str], EmptyIsUnset] = None
    admin_password: Annotated[Optional[SecretStr], EmptyIsUnset] = None
    admin_auto_create: bool = True
    admin_require_strong_password: bool = False

    extra_roles: list[str] = Field(default_factory=list)
    role_capabilities: dict[str, Any] = Field(default_factory=dict)

    # RFC 9106, section 4, second recommended option (low memory).
    argon2_time_cost: int = Field(default=3, ge=1, le=1000)
    argon2_memory_cost: int = Field(default=65536, ge=7168, le=2**26)  # KiB
    argon2_parallelism: int = Field(default=4, ge=1, le=255)

    session_expire_hours: int = Field(default=24, ge=1, le=24 * CENTURY_DAYS)
    session_sliding_refresh: bool = True
    session_absolute_timeout_days: Annotated[int, NegativeIsOff] = Field(
        default=30, le=CENTURY_DAYS
    )
    session_idle_timeout_minutes: Annotated[int, NegativeIsOff] = Field(
        default=60, le=24 * 60 * CENTURY_DAYS
    )
    session_concurrent_limit: Annotated[int, NegativeIsOff] = 5
    session_ip_check: bool = False
    session_secure_cookie: bool = True
    session_cache_ttl_seconds: Annotated[int, NegativeIsOff] = 30
    cookie_name: str = "clarinet_session"
    session_cleanup_enabled: bool = True
    session_cleanup_interval: int = Field(default=3600, ge=1)  # seconds
    session_cleanup_batch_size: int = Field(default=1000, ge=1)
    session_cleanup_retention_days: Annotated[int, NegativeIsOff] = Field(
        default=30, le=CENTURY_DAYS
    )

    log_level: Annotated[
        Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = "INFO"
    log_to_file: bool = False
    storage_path: Annotated[Optional[Path], EmptyIsUnset] = None
    log_dir: Annotated[Optional[Path], EmptyIsUnset] = None
    log_rotation: str = "20 MB"
    log_retention: str = "1 week"
    log_serialize: bool = True
    audit_log: Annotated[Optional[Path], EmptyIsUnset] = None

    @property
    def table_mapping(self) -> Optional["Mapping"]:
        """The mapping to an application's tables; None for those of the server."""
        if self.mapping == DEFAULT_MAPPING:
            return None
        mapping: Mapping = self.mapping
        keys = ("session_strategy", "session_lifetime_seconds")
        given = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        return mapping.model_copy(update=given) if given else mapping

    def server_limit(self, key: str) -> int:
        """Return a limit of the server; 0 for an application unless it is set.

        Args:
            key: Such as ``session_idle_timeout_minutes``, whose default is the server's own.
        """
        applies = self.mapping == DEFAULT_MAPPING or key in self.model_fields_set
        return int(getattr(self, key)) if applies else 0

    @property
    def capabilities(self) -> "Capabilities":
        """What the tables of the installation can hold, and what this tool may do with them."""
        from clarinet_cli.types import get_capabilities

        return get_capabilities(self.table_mapping)

    @property
    def first_admin_email(self) -> str:
        """The e-mail address of the configured administrator, derived as the server does it."""
        named = self.admin_username if "@" in self.admin_username else DEFAULT_ADMIN_EMAIL
        return self.admin_email or named

    @property
    def names_admin(self) -> bool:
        """Whether there is an address of the administrator; an application has no default."""
        own = self.mapping == DEFAULT_MAPPING
        return own or bool(self.admin_email) or "@" in self.admin_username

    @property
    def file_log_level(self) -> str:
        """The level of the log file; ``debug`` turns the default into DEBUG."""
        return "DEBUG" if self.debug and self.log_level == "INFO" else self.log_level

    @property
    def log_directory(self) -> Path:
        """The directory of the log file, in the project directory unless absolute."""
        storage = self.storage_path or Path()
        return self.project_dir / (self.log_dir or storage / LOGS)

    def origin(self, key: str) -> str:
        """Return the file or variable that sets a key; see ``sources.find_origin``."""
        return find_origin(Settings, key, self.project_dir)

    def error_for(self, key: str, reason: str, *, hint: Optional[str] = None) -> ConfigurationError:
        """Return the error for an invalid value of *key*; the message names its source.

        Args:
            key: The key.
            reason: Why the value is invalid; must not contain a secret.
            hint: How to correct it.
        """
        where = self.origin(key)
        return CONFIGURATION.with_context(f"{where}: {key}: {reason}", hint=hint)

    @field_validator("*", mode="before")
    @classmethod
    def _has_no_control_characters(cls, value: object, info: ValidationInfo) -> object:
        secret = is_secret(info.field_name or "")
        inner = value if isinstance(value, (list, dict)) else [value]
        for text in inner:
            if isinstance(text, str) and (reason := _control_character(text, secret=secret)):
                raise ValueError(reason)
        return value

    @model_validator(mode="after")
    def _argon2_is_strong_enough(self) -> "Settings":
        minimum = OWASP_ARGON2ID_MINIMUM[min(self.argon2_time_cost, 5)]
        if self.argon2_memory_cost < minimum:
            msg = (
                f"{self.origin('argon2_memory_cost')}: "
                f"argon2_memory_cost {self.argon2_memory_cost} is below the OWASP minimum of "
                f"{minimum} KiB for argon2_time_cost {self.argon2_time_cost}"
            )
            raise ValueError(msg)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then the files of the project directory."""
        if not cls.reads_sources:
            return (init_settings,)
        project = Path(init_settings()["project_dir"])
        return (init_settings, *(source for _, source in sources(settings_cls, project)))


class ExplicitSettings(Settings):
    """Settings passed by a program: no file or variable is read."""

    reads_sources: ClassVar[bool] = False

    def origin(self, key: str) -> str:
        """Return the program's argument as the source of all keys."""
        return "settings"


def problem_of(detail: ErrorDetails) -> str:
    """Return why a value cannot be used; a secret's value is left out.

    Args:
        detail: One error of a validation.
    """
    reason = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"] or is_secret(str(detail["loc"][0])):
        return reason
    return f"{reason} (got {detail['input']!r})"


@cache
def is_secret(key: str) -> bool:
    """Return whether the value of a key must not be shown; True for an unknown key.

    Args:
        key: The key.
    """
    field = Settings.model_fields.get(key)
    return field is None or "SecretStr" in str(field.annotation)

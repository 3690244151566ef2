"""When a command needs a password, and where it comes from."""

from typing import Optional

from clarinet_cli.cli.groups import run
from clarinet_cli.cli.prompts import PasswordOptions, required_password
from clarinet_cli.services.accounts.passwords import NewPassword
from clarinet_cli.services.accounts.resolve import first_admin_email
from clarinet_cli.settings import Settings
from clarinet_cli.utils.bootstrap import superuser_is_missing


def first_admin_password(settings: Settings, options: PasswordOptions) -> Optional[NewPassword]:
    """Return a password for the first superuser, or None when there is one already."""
    given = options.read()
    if not run(superuser_is_missing(settings)):
        return None
    email = first_admin_email(settings)
    return required_password(given, configured_password(settings, email), email)


def configured_password(settings: Settings, email: str) -> Optional[str]:
    """Return ``admin_password`` when *email* is the administrator of the settings."""
    if settings.admin_password is None or email.lower() != first_admin_email(settings).lower():
        return None
    return settings.admin_password.get_secret_value()

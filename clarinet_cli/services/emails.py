"""Which e-mail addresses an account may have, and which one the settings name."""

from typing import Optional

from clarinet_cli.exceptions import INVALID, InvalidInputError
from clarinet_cli.settings import Settings, email_of_username


def normalise_email(text: str) -> str:
    """Return the address in the form that the server stores.

    The server checks addresses with email-validator too, without asking the network. A
    special-use domain such as ``.local`` (RFC 6761) would break its own responses later.

    Args:
        text: What somebody typed.

    Raises:
        InvalidInputError: It is not an address, with the reason.
    """
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(text, check_deliverability=False).normalized
    except (EmailNotValidError, UnicodeError) as error:
        reason = str(error) if isinstance(error, EmailNotValidError) else "not valid text"
        raise INVALID.with_context(f"{text!r} is not a usable e-mail address: {reason}") from None


def admin_email(settings: Settings, *, email: Optional[str], username: Optional[str]) -> str:
    """Return the normalised address of a new administrator.

    Args:
        settings: They name the administrator when neither of the others does.
        email: An address.
        username: A name, which gets the server's domain unless it is an address itself.

    Raises:
        InvalidInputError: Both are given, or the address is not usable.
        ConfigurationError: The address of the settings is not usable.
    """
    if email is not None and username is not None:
        raise INVALID.with_context("--email and --username exclude each other")
    if username is not None:
        return normalise_email(email_of_username(username))
    return first_admin_email(settings) if email is None else normalise_email(email)


def first_admin_email(settings: Settings) -> str:
    """Return the normalised address of the administrator that the settings describe.

    Raises:
        ConfigurationError: ``admin_email`` or ``admin_username`` gives no usable address.
    """
    try:
        return normalise_email(settings.first_admin_email)
    except InvalidInputError as error:
        key = "admin_email" if settings.admin_email else "admin_username"
        raise settings.refused(key, error.message) from None

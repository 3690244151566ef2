"""Which e-mail addresses an account may have."""

from clarinet_cli.exceptions import INVALID


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

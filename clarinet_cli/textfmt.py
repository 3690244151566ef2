"""Counts and sizes as text."""

UNITS = ("B", "KiB", "MiB", "GiB")
LARGEST_UNIT = "TiB"
FEW = 10  # below this a size has one decimal


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 session`` or ``2 sessions``.

    Args:
        count: The count.
        noun: The singular.
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_size(count: float) -> str:
    """Return a number of bytes in a binary unit, such as ``196 KiB`` or ``1.4 GiB``.

    Args:
        count: The number of bytes.
    """
    for unit in UNITS:
        if count < 1024:
            digits = f"{count:.1f}".removesuffix(".0") if count < FEW else f"{count:.0f}"
            return f"{digits} {unit}"
        count /= 1024
    return f"{count:.1f} {LARGEST_UNIT}"

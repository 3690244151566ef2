"""Reading files and standard input, up to a limit."""

import sys
from pathlib import Path
from typing import BinaryIO

from clarinet_cli.exceptions import INVALID, NOT_FOUND
from clarinet_cli.types import STDIO

MIB = 2**20
PASSWORD_LIMIT = MIB
FILE_LIMIT = 256 * MIB


def read_limited(stream: BinaryIO, limit: int, what: str) -> bytes:
    """Return the whole content of a file, a pipe or a device.

    Args:
        stream: The stream to read to its end.
        limit: The maximum number of bytes: ``/dev/zero`` has no end.
        what: The name of the content, for the message.

    Raises:
        InvalidInputError: The content is larger.
        OSError: It cannot be read.
    """
    pieces, size = [], 0
    while size <= limit and (piece := stream.read(MIB)):
        pieces.append(piece)
        size += len(piece)
    if size > limit:
        raise INVALID.with_context(f"{what} has more than {limit // MIB} MiB")
    return b"".join(pieces)


def read_file(file: str) -> bytes:
    """Return the content of a file, or of standard input for ``-``.

    Args:
        file: As given on the command line.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It cannot be read, or is too large.
    """
    if file == STDIO:
        return read_limited(sys.stdin.buffer, FILE_LIMIT, "standard input")
    try:
        with Path(file).open("rb") as stream:
            return read_limited(stream, FILE_LIMIT, file)
    except FileNotFoundError:
        raise NOT_FOUND.with_context(f"no file {file}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid file name"
        raise INVALID.with_context(f"cannot read {file!r}: {reason}") from error

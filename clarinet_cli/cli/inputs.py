"""Reading what a user hands over, no more than makes sense."""

from typing import BinaryIO

from clarinet_cli.exceptions import INVALID

MIB = 2**20
PASSWORD_LIMIT = MIB
FILE_LIMIT = 256 * MIB


def read_limited(stream: BinaryIO, limit: int, what: str) -> bytes:
    """Return the whole content of a file, a pipe or a device.

    Args:
        stream: Where to read.
        limit: The bytes that are taken at most: ``/dev/zero`` has no end.
        what: What it is, for the message.

    Raises:
        InvalidInputError: There is more.
        OSError: It can't be read.
    """
    pieces, size = [], 0
    while size <= limit and (piece := stream.read(MIB)):
        pieces.append(piece)
        size += len(piece)
    if size > limit:
        raise INVALID.with_context(f"{what} has more than {limit // MIB} MiB")
    return b"".join(pieces)

"""A generated password is shown before it is set: one that can't be shown is not set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional

from clarinet_cli.cli.output import Listing, render, required, warn
from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.types import OutputFormat


class Delivery:
    """Writes the whole result to standard output just before the commit.

    Args:
        output: The format.
        listing: What a list looks like; None for a single result.
        more: Makes the result that is shown of the one that is about to be.
        otherwise: What holds when the password can't be shown, and is not set.
    """

    def __init__(
        self,
        output: Optional[OutputFormat],
        listing: Optional[Listing] = None,
        more: Callable[[Any], Any] = lambda result: result,
        otherwise: str = "nothing was changed",
    ) -> None:
        self.output = output
        self.listing = listing
        self.more = more
        self.otherwise = otherwise
        self.done = False

    def __call__(self, result: Any) -> None:
        """Show the result; the passwords in it are not set yet.

        Raises:
            ClarinetError: Nobody can read it.
        """
        try:
            with required():
                render(self.more(result), self.output, self.listing)
        except ClarinetError as error:
            raise FAILURE.with_context(
                f"the new password can't be shown: {error.message}", hint=self.otherwise
            ) from error
        self.done = True

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Say of what was shown in the block that it is not valid, when the block fails."""
        valid = unknown = False
        try:
            yield
            valid = True
        except ClarinetError as error:
            unknown = error.outcome_unknown
            raise
        finally:
            if self.done and unknown:
                warn("whether the password that was shown is valid is unknown")
            elif self.done and not valid:
                warn(f"the password that was shown is not valid, {self.otherwise}")

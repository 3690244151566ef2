"""Run the command line as ``python -m clarinet_cli``."""

import os
import sys

from clarinet_cli.cli.main import main

if __name__ == "__main__":
    # Python looks for modules in the current directory first, whoever owns it. This package is
    # already found; the libraries must not be loaded from there.
    if sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - as Python has put it there
        del sys.path[0]
    main()

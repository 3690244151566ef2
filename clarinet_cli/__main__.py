"""Run the command line as ``python -m clarinet_cli``."""

import os
import sys

from clarinet_cli.cli.main import main

if __name__ == "__main__":
    # Python looks for modules in the current directory first, whosever that is. This package
    # is found by now; the libraries are not to be taken from there.
    if sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - as Python has put it there
        del sys.path[0]
    main()

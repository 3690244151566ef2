"""Run the command line as ``python -m clarinet_cli``."""

from clarinet_cli.cli.main import main

if __name__ == "__main__":
    main()

"""Run a command and write its duration and peak memory to a file.

A process of its own, started with as little as possible: a child begins with the peak of
its parent's memory, so a large parent would hide what a small child needs.
"""

import json
import os
import subprocess
import sys
import time


def main(result: str, *command: str) -> None:
    """Run *command* and write its result to the file *result*."""
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    with open(result, "w") as file:  # noqa: PTH123 - pathlib would cost memory
        json.dump([process.returncode, started, ended, usage.ru_maxrss], file)


if __name__ == "__main__":
    main(*sys.argv[1:])

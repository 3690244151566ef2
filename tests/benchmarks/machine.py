"""The machine of the measurements, without its name."""

import os
import platform
import sqlite3
from pathlib import Path

from tests.benchmarks.places import Bench
from tests.benchmarks.processes import cores

SETTINGS = ("server_version", "shared_buffers", "fsync", "synchronous_commit", "autovacuum")


def described(bench: Bench) -> dict[str, str]:
    """Return the properties of the machine and the relevant versions."""
    shown = {name: bench.server.rows("postgres", f"SHOW {name}")[0][0] for name in SETTINGS}
    version = shown.pop("server_version")
    settings = ", ".join(f"{name} {value}" for name, value in shown.items())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{cores()} cores, {_processor()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": f"{version}, {settings}",
    }


def _processor() -> str:
    """Return the processor's name as reported by the kernel."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

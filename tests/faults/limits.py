"""What a process can be denied before a command runs in it; see ``prepare`` in ``tests.forked``.

The functions work in the process itself, and in one that runs another program.
"""

import ctypes
import resource
import signal

# From <linux/prctl.h> and <linux/capability.h>.
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522
LIBC = ctypes.CDLL(None, use_errno=True)


def bound_by_permissions() -> None:
    """Let file modes count in this process, also when it runs as root."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: 32 bits, then the next
    LIBC.capget(header, sets)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        for index in range(3):
            sets[index] &= ~(1 << capability)
    if LIBC.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def limited_to(size: int) -> None:
    """Let no file grow beyond *size* in this process: writing more fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def with_memory(size: int) -> None:
    """Let this process have no more address space than *size* bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def as_nohup() -> None:
    """Ignore the end of the terminal and its interrupts."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

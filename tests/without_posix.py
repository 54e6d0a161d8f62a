"""Run keensight as if this were Windows: `python tests/without_posix.py demo`.

What POSIX alone has is taken away once those modules of others are loaded that ask for the operating system's name.
"""

import asyncio
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "uvloop")
OF_OS = (
    "fork", "forkpty", "getuid", "geteuid", "getgid", "killpg", "getpgid", "setsid", "nice", "chown", "fchmod",
    "mkfifo", "statvfs", "sched_getaffinity", "sched_setaffinity", "pread", "sysconf", "wait4", "getloadavg",
    "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "WNOHANG",
)  # fmt: skip
OF_SIGNAL = ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGPIPE", "setitimer", "alarm", "pthread_sigmask", "SIG_BLOCK")


def hide() -> None:
    """Take POSIX away from this process, and from those that it starts by multiprocessing."""
    assert subprocess and tempfile
    importlib.import_module("platformdirs")  # of model-signing
    asyncio.SelectorEventLoop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler
    for name in MODULES:
        sys.modules[name] = None
    for place, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names:
            if hasattr(place, name):
                delattr(place, name)
    os.supports_dir_fd, os.supports_follow_symlinks, os.supports_fd = set(), set(), set()
    multiprocessing.context._concrete_contexts = {"spawn": multiprocessing.get_context("spawn")}
    multiprocessing.set_start_method("spawn", force=True)


if __name__ == "__main__":
    hide()
    from keensight.cli import main

    sys.exit(main(sys.argv[1:]))

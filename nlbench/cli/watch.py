"""The process around a command that may run plugins: whatever ends the inner one, it is said.

A plugin that calls `os._exit(0)`, at its import or anywhere later, takes the process with it: no
line of ours runs any more, and whoever reads the exit code takes it for a success. So where there
are plugins, the command runs in a forked process, and its parent does nothing but wait for it. The
fork comes before anything heavy is imported and costs milliseconds. Linux only: elsewhere a forked
process must not use the accelerator's libraries.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from nlbench.cli.console import say_error
from nlbench.errors import PluginError

# SIGUSR1 and SIGUSR2 are how clusters tell of a time limit, which a run answers with a checkpoint.
_USERS_OWN = {
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar that was cut off has hidden it


def run_watched(command: Callable[[], object], owners: Sequence[str]) -> None:
    """Run a command so that its process cannot end without a word.

    Args:
        command: What to do; it ends by returning or by SystemExit.
        owners: Who brings the plugins, for the message.
    """
    parent = os.getpid()
    ours, its = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {*_USERS_OWN, signal.SIGCHLD})
    try:
        pid = os.fork()
    except OSError:  # no more processes are allowed: as without a watcher
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        command()
        return
    if pid:
        os.close(its)
        _end_as(_exit_code(pid), os.read(ours, 1) if _has_spoken(ours) else b"", owners)
    os.close(ours)
    _end_with(parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    _do(command, its)


def _do(command: Callable[[], object], line: int) -> None:
    """Run the command and tell its parent how it ended, before Python's own end."""
    me, code = os.getpid(), 1
    try:
        command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        if os.getpid() == me:  # not a process that a plugin forked
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # nobody reads on, which Python reports
                    stream.flush()
            os.write(line, bytes([code & 255]))


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _exit_code(pid: int) -> int:
    """Wait for the process and pass on what others send; return its exit code, or -signal."""
    while True:
        got = signal.sigwaitinfo({*_USERS_OWN, signal.SIGCHLD})
        if got.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif got.si_code <= 0:  # from a process; the terminal's reach the whole group
            os.kill(pid, got.si_signo)


def _has_spoken(line: int) -> bool:
    """Return whether the process told how the command ended; one that it left may hold the line."""
    os.set_blocking(line, False)
    import select

    return bool(select.select([line], [], [], 0)[0])


def _end_as(code: int, told: bytes, owners: Sequence[str]) -> None:
    if told or -code in _USERS_OWN:
        # Its own end may fail later, as when the disk of stdout is full.
        _leave(code or (told[0] if told else 0))
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    say_error(
        PluginError(
            f"the process of this command was ended with {how} before the command was done. "
            f"Plugins here: {', '.join(owners)}. One of them ended it (as os._exit does), or "
            "memory ran out. A run that was under way counts as interrupted; the same command "
            "does it again. Repair the plugin, or leave it out."
        )
    )
    os._exit(128 - code if code < 0 else PluginError.exit_code)


def _leave(code: int) -> None:
    """End as the process inside did, by the same signal where its user sent one."""
    if code < 0:
        with suppress(OSError):  # SIGKILL cannot be set, and need not be
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), -code)
    # Whatever Python does at its end, the process inside has done.
    os._exit(code)

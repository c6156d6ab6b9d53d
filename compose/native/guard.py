"""A process that ends a cluster when the one that wanted it has ended, however that came about."""

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

import commands
import process
from errors import Failure
from state import Home

NAME = "guard"


def start(home: Home, pid: int) -> None:
    """Before anything else runs, so that nothing runs unguarded. One that guarded for another process is ended."""
    end(home)
    command = [sys.executable, str(Path(__file__).with_name("cluster")), NAME, str(pid), "--dir", str(home.root)]
    child = process.spawn(command, home.record(NAME), home.log(NAME), home.root, dict(os.environ))
    while child.poll() is None and process.recorded(home.record(NAME)) is None:
        time.sleep(0.01)


def end(home: Home) -> None:
    """Unless it is the guard that asks."""
    guard = process.recorded(home.record(NAME))
    if guard is not None and guard.pid != os.getpid():
        guard.send(signal.SIGTERM)
        process.wait_gone([guard], 5)
    home.record(NAME).unlink(missing_ok=True)


def watch(home: Home, pid: int) -> None:
    """Waits for the end of a process, and then for whoever changes the cluster at that moment."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    print(f"process {pid} has ended", flush=True)
    while home.exists():
        try:
            with home.locked():
                return commands.down(home, remove=False)
        except Failure as failure:
            print(failure, flush=True)
            time.sleep(1)

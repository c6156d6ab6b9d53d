"""A process in the background: recorded before it is what it will be, and recognised whatever happened since.

The record is the process id with the time that the process started and the boot that this was in. So a number that
another process got meanwhile is never taken for ours, nor is one from before the machine went down.
"""

import enum
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# The shell writes the record and then becomes the service, under the same process id: there is no moment at which the
# service runs and nobody knows of it, even when we are killed here.
RECORD_AND_BECOME = """
printf '%s %s %s\\n' "$$" "$(cut -d' ' -f22 /proc/$$/stat)" "$(cat /proc/sys/kernel/random/boot_id)" >"$0.new" &&
mv "$0.new" "$0" && exec "$@"
"""


class State(enum.Enum):
    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Process:
    """One process, ever: a process id alone is used again."""

    pid: int
    started: int

    def exists(self) -> bool:
        """Not so for one that ended and waits for its parent to notice."""
        facts = read_facts(self.pid)
        return facts is not None and facts.started == self.started and facts.state != "Z"

    def is_frozen(self) -> bool:
        facts = read_facts(self.pid)
        return facts is not None and facts.state in "Tt"

    def send(self, number: signal.Signals) -> None:
        """Signals this process and none that has its number now."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.exists():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Facts:
    """What /proc says of a process."""

    state: str
    parent: int
    started: int


def read_facts(pid: int) -> Facts | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return Facts(state=fields[0], parent=int(fields[1]), started=int(fields[19]))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Puts interruptions off: when they come, what was begun here is known of."""
    came: list[int] = []
    former = {number: signal.signal(number, lambda number, _: came.append(number)) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in came[:1]:
            signal.raise_signal(number)


def spawn(
    command: list[str], record: Path, log: Path, folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own, which outlives us; its output is appended to `log`."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", RECORD_AND_BECOME, str(record), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )


def recorded(record: Path) -> Process | None:
    """The process of a record, which may have ended since; none when the record is from another boot."""
    try:
        pid, started, boot = record.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    if boot != BOOT_ID.read_text().strip():
        return None
    return Process(int(pid), int(started))


def state(record: Path) -> State:
    if not record.exists():
        return State.STOPPED
    process = recorded(record)
    if process is None or not process.exists():
        return State.DEAD
    return State.FROZEN if process.is_frozen() else State.RUNNING


def every_process() -> dict[int, Facts]:
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    found = ((pid, read_facts(pid)) for pid in numbers)
    return {pid: facts for pid, facts in found if facts is not None}


def family(head: Process) -> set[Process]:
    """A process and all that descend from it."""
    if not head.exists():
        return set()
    everyone = every_process()
    members = {head.pid}
    while True:
        children = {pid for pid, facts in everyone.items() if facts.parent in members} - members
        if not children:
            return {Process(pid, everyone[pid].started) for pid in members if pid in everyone}
        members |= children


def at_work(program: Path, folder: Path) -> set[Process]:
    """Processes of a program that run in a folder: children of a service that was killed have no other mark."""
    return {
        Process(pid, facts.started)
        for pid, facts in every_process().items()
        if facts.state != "Z" and link(pid, "exe") == program and is_in(folder, link(pid, "cwd"))
    }


def is_in(folder: Path, path: Path | None) -> bool:
    return path is not None and path.is_relative_to(folder)


def link(pid: int, name: str) -> Path | None:
    try:
        # A program that was built anew while it runs is shown as deleted; it is still that program.
        return Path(os.readlink(f"/proc/{pid}/{name}").removesuffix(" (deleted)"))
    except OSError:
        return None


def wait_gone(processes: Iterable[Process], seconds: float) -> set[Process]:
    """Waits until all have ended; gives those that have not."""
    deadline = time.monotonic() + seconds
    left = {process for process in processes if process.exists()}
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {process for process in left if process.exists()}
    return left

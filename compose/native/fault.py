"""What a proxy is told to do wrong, and the file by which it is told."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from state import write_whole


@dataclass(frozen=True)
class Faults:
    """Shares are of requests, from 0 to 1."""

    # Answered with 500, without the service hearing of it.
    errors: float = 0.0
    # The connection is reset instead of handing the request on.
    resets: float = 0.0
    # Carried out, and the connection reset instead of handing the answer back: the client cannot know.
    lost_answers: float = 0.0
    # Every request waits.
    delay_ms: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value) or "none"


def read(file: Path) -> Faults:
    try:
        return Faults(**json.loads(file.read_text()))
    except FileNotFoundError:
        return Faults()


def write(file: Path, faults: Faults) -> None:
    write_whole(file, json.dumps(asdict(faults)) + "\n")


class Control:
    """The file's content, read again when it is another."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: tuple[int, int] | None = None
        self.faults = Faults()

    def current(self) -> Faults:
        seen = self.version()
        if seen != self.seen:
            self.seen = seen
            self.faults = read(self.file)
        return self.faults

    def version(self) -> tuple[int, int] | None:
        try:
            facts = os.stat(self.file)
        except FileNotFoundError:
            return None
        return facts.st_ino, facts.st_mtime_ns

"""What every service has."""

import os
import signal
from pathlib import Path

from ports import HOST
from state import Home


class Service:
    """One process of the cluster, and how to bring it up."""

    # Asks the process to end in good order.
    stop_signal = signal.SIGTERM
    # How long that may take before it is killed.
    stop_seconds = 15.0
    # How long it may take to be ready.
    ready_seconds = 60.0

    def __init__(self, home: Home, name: str) -> None:
        self.home = home
        self.name = name

    @property
    def data(self) -> Path:
        return self.home.data(self.name)

    @property
    def port(self) -> int:
        return self.home.port(self.name)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def ports(self) -> list[int]:
        """Every port that it listens on."""
        return [self.port]

    def install(self) -> None:
        """Fetches what is missing to run it."""

    def prepare(self) -> None:
        """Before every start: configuration, and the data's first form when there is none."""

    def program(self) -> Path:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def probe(self) -> None:
        """Asks the process for something that only a service which is ready answers; raises when it does not."""
        raise NotImplementedError

    def finish(self) -> None:
        """What can only be made in a service that is ready. Must be safe to repeat."""

    def listens(self) -> list[tuple[str, str]]:
        """Kinds and addresses of its listeners."""
        return []

    def note(self) -> str:
        """What people should know of it besides."""
        return ""

    def serves(self) -> str:
        """Its addresses for people."""
        return " ".join(address for _, address in self.listens())

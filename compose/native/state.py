"""The folder of a cluster: where everything is, what was asked for, which ports and secrets were chosen."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import ports
from errors import Failure

FORMAT = 1

# Stands in a log where a process was started.
START_MARK = "=== started "


@dataclass
class Options:
    """What `up` was asked for. It is remembered, so that every later command knows the same services."""

    brokers: int = 1
    processes: int = 1
    catalog: str = "postgres"
    partitions: int = 4
    faults: bool = False
    tls: bool = False
    screens: list[str] = field(default_factory=list)
    binary: str = ""


class Home:
    """The folder of one cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.options = Options()
        self.ports: dict[str, int] = {}
        self.programs: dict[str, str] = {}

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def config_file(self) -> Path:
        return self.root / "millrace.toml"

    def conf(self, name: str) -> Path:
        """Folder of a service's configuration."""
        return make_folder(self.root / "conf" / name)

    def data(self, name: str) -> Path:
        """Folder of a service's data, which is also where its processes run."""
        return make_folder(self.root / "data" / name)

    def log(self, name: str) -> Path:
        return make_folder(self.root / "logs") / (name + ".log")

    def record(self, name: str) -> Path:
        """Where a process that was started writes down who it is."""
        return make_folder(self.root / "run") / (name + ".pid")

    def exists(self) -> bool:
        return self.state_file.exists()

    def load(self) -> None:
        try:
            state = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            raise Failure(f"there is no cluster in {self.root}: make one with `cluster up --dir {self.root}`") from None
        if state["format"] != FORMAT:
            raise Failure(f"{self.root} was made by another version of this program: use that one to end it")
        self.options = Options(**state["options"])
        self.ports = state["ports"]
        self.programs = state["programs"]

    def create(self) -> None:
        if self.root.exists() and any(self.root.iterdir()):
            raise Failure(f"{self.root} holds something else: choose an empty folder or a new one with --dir")
        self.root.mkdir(parents=True, exist_ok=True)
        # Others may pass through, since PostgreSQL runs as another user than root; what is secret is closed by itself.
        self.root.chmod(0o711)
        # Whatever repository it is in, nothing of it belongs there.
        write_whole(self.root / ".gitignore", "*\n")
        self.save()

    def save(self) -> None:
        state = {
            "format": FORMAT,
            "options": asdict(self.options),
            "ports": self.ports,
            "programs": self.programs,
        }
        write_whole(self.state_file, json.dumps(state, indent=2) + "\n")

    def port(self, name: str) -> int:
        """The port of a listener: chosen once, so that what is restarted is where it was."""
        if name not in self.ports:
            self.ports[name] = ports.choose(set(self.ports.values()))
            self.save()
        return self.ports[name]

    def remember_program(self, name: str, program: Path) -> None:
        """What a service runs, by which its processes are found when their parent is gone."""
        self.programs[name] = str(program.resolve())
        self.save()

    def secret_file(self, name: str) -> Path:
        """A file with a random secret, which only its owner reads."""
        return self.make_secret(name, secrets.token_hex(20).encode())

    def make_secret(self, name: str, content: bytes) -> Path:
        folder = self.root / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / name
        if not path.exists():
            write_whole(path, content, mode=0o600)
        return path

    def secret(self, name: str) -> str:
        return self.secret_file(name).read_text()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes a cluster."""
        with open(self.root / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(f"another command is changing the cluster in {self.root}: wait for it") from None
            yield


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_whole(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """The old file or the new one, never half of it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.replace(new, path)

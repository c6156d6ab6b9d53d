"""The cluster under test: its processes through `compose/native/cluster`, its commands through `millrace --config`."""

import json
import os
import subprocess
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent
COMMAND = REPOSITORY / "compose" / "native" / "cluster"

PASSWORD = "correct horse battery staple"
DOMAIN = "millrace.test"
PARTITIONS = 4
ROLES = ("reception", "pipelines", "lander", "api")

# Landing comes round often enough that a failure of a minute meets several; nobody is asked about names.
ENVIRONMENT = {"MILLRACE_SCREENING_DNS": "off", "MILLRACE_LANDING_INTERVAL_S": "5"}


class CommandFailed(Exception):
    """A command of ours that should have worked."""


@dataclass(frozen=True)
class Account:
    address: str
    id: str

    @property
    def partition(self) -> int:
        """Of its changes: the CRC-32 of the key, as every producer of the cluster has it."""
        return zlib.crc32(self.id.encode()) % PARTITIONS


class Cluster:
    def __init__(self, folder: Path, binary: Path, brokers: int, is_encrypted: bool = False) -> None:
        self.folder = folder
        self.binary = binary
        self.brokers = brokers
        self.is_encrypted = is_encrypted
        # Until all was found well.
        self.is_kept = True
        self.pids: dict[str, int | None] = {}

    def up(self) -> None:
        options = ["--processes", "2", "--brokers", str(self.brokers), "--partitions", str(PARTITIONS)]
        # The proxy that lets S3 fail is a plain one.
        # Also when this process is killed.
        options += ["--tied-to", str(os.getpid())]
        options.append("--tls" if self.is_encrypted else "--faults")
        self.control("up", *options, "--millrace", str(self.binary))
        self.remember()
        self.millrace("domain", "add", DOMAIN)

    def down(self, remove: bool) -> None:
        self.control("down", *(["--remove"] if remove else []))

    def control(self, verb: str, *arguments: str) -> str:
        """One command of `cluster`; what it printed."""
        return output([str(COMMAND), verb, "--dir", str(self.folder), *arguments])

    def start(self, *names: str) -> None:
        self.control("start", *names)

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.control("status", "--json"))}

    def remember(self) -> None:
        """From here on, whoever has another process than now was started anew."""
        self.pids = {name: row["pid"] for name, row in self.status().items()}

    def died(self) -> list[str]:
        """Who runs no longer."""
        return [name for name, row in self.status().items() if row["state"] != "running"]

    def changed(self) -> set[str]:
        """Who is not the process that it was."""
        return {name for name, row in self.status().items() if row["pid"] != self.pids.get(name)}

    def port(self, name: str) -> int:
        ports: dict[str, int] = json.loads((self.folder / "state.json").read_text())["ports"]
        return ports[name]

    def smtp(self) -> list[int]:
        return [self.port(f"reception-{number}-smtp") for number in (1, 2)]

    def http(self) -> list[int]:
        return [self.port(f"api-{number}-http") for number in (1, 2)]

    def millrace(self, *arguments: str, told: str = "", seconds: float = 300, may_fail: bool = False) -> str:
        line = [str(self.binary), "--config", str(self.folder / "millrace.toml"), *arguments]
        return output(line, told, seconds, may_fail)

    def query(self, sql: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.millrace("query", sql, "--format", "json").splitlines()]

    def audit(self, *options: str) -> dict[str, Any]:
        """The report; one with findings too, which the command tells by its exit code."""
        said = self.millrace("audit", "--json", *options, seconds=600, may_fail=True)
        try:
            report: dict[str, Any] = json.loads(said)
        except ValueError:
            raise CommandFailed(f"audit: {said}") from None
        return report

    def add_account(self, name: str) -> Account:
        address = f"{name}@{DOMAIN}"
        said = self.millrace("account", "add", address, "--password-stdin", told=PASSWORD + "\n")
        return Account(address, said.split()[-1])

    def add_accounts(self, name: str, least: int) -> list[Account]:
        """So many accounts that each partition has one."""
        accounts: list[Account] = []
        # A cluster that is used again has those of earlier runs.
        run = int(time.time()) % 1_000_000
        while len(accounts) < least or len({account.partition for account in accounts}) < PARTITIONS:
            accounts.append(self.add_account(f"{name}{len(accounts)}-{run}"))
        return accounts


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT}


def output(line: list[str], told: str = "", seconds: float = 300, may_fail: bool = False) -> str:
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()) as command:
        try:
            said, errors = command.communicate(told, timeout=seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            raise CommandFailed(f"{' '.join(line[1:])}: no answer for {seconds:.0f} s") from None
        except BaseException:
            # It ends what it has begun: `cluster up` what it has started.
            command.terminate()
            raise
    if command.returncode != 0 and not (may_fail and said):
        raise CommandFailed(f"{' '.join(line[1:])}: {said}{errors}".strip())
    return said

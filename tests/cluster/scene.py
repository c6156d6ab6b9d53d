"""A cluster under load with people who read: what a failure happens to."""

import sys
import time

from cluster import Account, Cluster
from jmap import Jmap
from ledger import Ledger
from load import Load
from push import Push
from reader import Reader


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Scene:
    """Load that comes and goes with each failure; readers and listeners that stay through all of them."""

    def __init__(self, cluster: Cluster, accounts: list[Account], rate: float) -> None:
        self.cluster = cluster
        self.accounts = accounts
        self.rate = rate
        self.readers = [Reader(cluster.http(), account) for account in accounts]
        # Each process of the API has one, for different accounts.
        self.pushes = [
            Push(port, account) for port, account in zip(cluster.http() * len(accounts), accounts, strict=False)
        ]
        self.ledger = Ledger("warmup")
        self.load = self.new_load()
        self.began_at = self.ended_at = 0.0

    def watch(self) -> None:
        """Begins to read and to listen."""
        for reader in self.readers:
            reader.thread.start()
        for push in self.pushes:
            push.thread.start()

    def leave(self) -> None:
        for reader in self.readers:
            reader.stopped.set()
        for push in self.pushes:
            push.stopped.set()
        self.load.stopped.set()

    def new_load(self) -> Load:
        return Load(self.cluster.smtp(), self.accounts, self.ledger, self.rate)

    def begin(self, name: str) -> None:
        """A new ledger, and load until `finish` of it."""
        self.ledger = Ledger(name)
        for reader in self.readers:
            reader.begin(self.ledger)
        self.cluster.remember()
        self.load = self.new_load()
        self.load.start()

    def began(self) -> None:
        """The failure begins now."""
        self.began_at = time.monotonic()
        self.ended_at = self.began_at

    def ended(self) -> None:
        """What failed is whole again, or is started again now: from here recovery counts."""
        self.ended_at = time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def client(self, api: int, account: Account) -> Jmap:
        return Jmap(self.cluster.http()[api], account, seconds=30)

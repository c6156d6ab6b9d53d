"""A cluster under load with people who read: what a failure happens to."""

import sys
import time

from changer import Changer
from cluster import PARTITIONS, Account, Cluster
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
        self.changer = self.new_changer()
        self.began_at = self.ended_at = 0.0
        # What shows that the failure took place, and what speaks against it.
        self.evidence: list[str] = []
        self.doubts: list[str] = []

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
        self.changer.stopped.set()

    def new_load(self) -> Load:
        return Load(self.cluster.smtp(), self.accounts, self.ledger, self.rate)

    def new_changer(self) -> Changer:
        return Changer(self.cluster.http(), self.accounts, self.ledger.name)

    def begin(self, name: str) -> None:
        """A new ledger, and load and changes until `finish` of them."""
        self.ledger = Ledger(name)
        self.evidence, self.doubts = [], []
        for reader in self.readers:
            reader.begin(self.ledger)
        self.cluster.remember()
        self.load = self.new_load()
        self.load.start()
        self.changer = self.new_changer()
        self.changer.start()

    def began(self) -> None:
        """The failure begins now."""
        self.began_at = time.monotonic()
        self.ended_at = self.began_at

    def ended(self) -> None:
        """What failed is whole again, or is started again now: from here recovery counts."""
        self.ended_at = time.monotonic()

    def prove(self, holds: bool, what: str) -> None:
        """Says what was seen of the failure; what should have been seen and was not is a problem."""
        known = self.evidence if holds else self.doubts
        if what not in known:
            known.append(what)

    def is_served(self) -> bool:
        """Since the failure is over, each reception took mail and each partition got some."""
        after = [
            (attempt.reception, message.account.partition)
            for message in self.ledger.accepted()
            if (attempt := message.accepted) and attempt.begun >= self.ended_at
        ]
        receptions, partitions = {reception for reception, _ in after}, {partition for _, partition in after}
        return len(receptions) == len(self.cluster.smtp()) and len(partitions) == PARTITIONS

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def client(self, api: int, account: Account) -> Jmap:
        return Jmap(self.cluster.http()[api], account, seconds=30)

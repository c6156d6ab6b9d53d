"""A client that keeps its list of mail by Email/changes, asking one process of the API after the other."""

import threading
import time

from cluster import Account
from jmap import Jmap, MethodError, Unavailable
from ledger import Ledger

POLL_SECONDS = 0.5


class Reader:
    """The list of one account as a client has it, and how well it was served."""

    def __init__(self, ports: list[int], account: Account) -> None:
        self.account = account
        self.clients = [Jmap(port, account) for port in ports]
        self.turn = 0
        self.state = -1
        self.listed: set[str] = set()
        self.ledger: Ledger | None = None
        self.complaints: list[str] = []
        self.unanswered = 0
        self.last_error = ""
        # Each look at the list: when it was wanted, and when it was there.
        self.looks: list[tuple[float, float]] = []
        self.resyncs = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def begin(self, ledger: Ledger) -> None:
        """The books of a new failure."""
        self.ledger, self.looks, self.complaints = ledger, [], []
        self.unanswered = self.resyncs = 0

    def run(self) -> None:
        while not self.stopped.is_set():
            wanted = time.monotonic()
            while not self.stopped.is_set() and not self.look():
                self.stopped.wait(0.2)
            self.looks.append((wanted, time.monotonic()))
            self.stopped.wait(POLL_SECONDS)

    def look(self) -> bool:
        """One look at the list, at the process whose turn it is."""
        self.turn += 1
        client = self.clients[self.turn % len(self.clients)]
        try:
            self.look_at(client)
        except Unavailable as error:
            self.unanswered += 1
            self.last_error = f"{time.strftime('%H:%M:%S')} {client.port} {type(error).__name__}: {error}"
            return False
        return True

    def look_at(self, client: Jmap) -> None:
        if self.state < 0:
            self.resync(client)
        try:
            self.follow(client)
        except MethodError as error:
            if error.kind != "cannotCalculateChanges":
                self.complaints.append(f"{self.account.address} at {client.port}: {error}")
            elif "lies ahead" in str(error):
                # The other process gave it, so this one is behind what a client has seen.
                self.complaints.append(
                    f"{self.account.address} at {client.port}: state {self.state} went back: {error}"
                )
            self.resyncs += 1
            self.resync(client)

    def resync(self, client: Jmap) -> None:
        answers = client.calls(("Email/get", {"ids": []}))
        ids = client.query()
        self.take(client, ids)
        self.listed = set(ids)
        self.state = int(answers[0]["state"])

    def follow(self, client: Jmap) -> None:
        while True:
            changes = client.calls(("Email/changes", {"sinceState": str(self.state)}))[0]
            self.take(client, changes["created"])
            self.listed |= set(changes["created"]) | set(changes["updated"])
            self.listed -= set(changes["destroyed"])
            new = int(changes["newState"])
            if new < self.state:
                self.complaints.append(f"{self.account.address}: state {self.state} became {new} at {client.port}")
            self.state = new
            if not changes["hasMoreChanges"]:
                return

    def take(self, client: Jmap, ids: list[str]) -> None:
        """Notes which messages these emails are."""
        news = [id for id in ids if id not in self.listed]
        emails = client.emails(news, ["subject"])
        at = time.monotonic()
        if len(emails) < len(set(news)):
            found = {email["id"] for email in emails}
            missing = [id for id in news if id not in found]
            self.complaints.append(f"{self.account.address}: listed and not found at {client.port}: {missing[:5]}")
        for email in emails:
            if self.ledger and (complaint := self.ledger.saw(self.account, email["subject"], email["id"], at)):
                self.complaints.append(complaint)

    def worst_latency(self, since: float) -> float:
        return max((there - wanted for wanted, there in list(self.looks) if there >= since), default=0.0)

"""A client that is told of changes by the event source and comes back when the connection ends."""

import threading
import time

from cluster import Account
from jmap import Jmap, Unavailable


class Push:
    def __init__(self, port: int, account: Account) -> None:
        self.account = account
        self.port = port
        self.stopped = threading.Event()
        self.state = 0
        self.last_id = ""
        self.is_listening = threading.Event()
        self.complaints: list[str] = []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                # As a browser does: what came while nobody listened is told first.
                for id, event in Jmap(self.port, self.account).events(self.last_id, self.is_listening.set):
                    self.last_id = id
                    self.hear(event)
                    if self.stopped.is_set():
                        return
            except Unavailable:
                pass
            self.stopped.wait(0.5)

    def hear(self, event: dict[str, object]) -> None:
        changed = event.get("changed")
        types = changed.get(self.account.id) if isinstance(changed, dict) else None
        if types and "Email" in types:
            state = int(types["Email"])
            if state < self.state:
                self.complaints.append(f"{self.account.address}: push at {self.port} told {state} after {self.state}")
            self.state = state

    def wait_for(self, state: int, seconds: float) -> bool:
        """Whether it was told of a state, now or soon."""
        deadline = time.monotonic() + seconds
        while self.state < state and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.state >= state

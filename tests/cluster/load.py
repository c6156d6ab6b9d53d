"""Mail that keeps coming in, at a steady rate, through every reception."""

import random
import threading
import time

from cluster import Account
from ledger import Attempt, Ledger, Message
from smtp import Client, Outcome, Refusal

# As a mail server does it, only sooner.
RETRY_SECONDS = 2.0
SENDERS_EACH = 4


class Load:
    """Senders, some for each reception. What was not answered with 250 is sent again, the same bytes."""

    def __init__(self, ports: list[int], accounts: list[Account], ledger: Ledger, rate: float) -> None:
        self.accounts = accounts
        self.ledger = ledger
        self.pause = len(ports) * SENDERS_EACH / rate
        self.lock = threading.Lock()
        self.again: list[tuple[float, Message]] = []
        self.in_hand = 0
        self.brings_new = True
        self.stopped = threading.Event()
        self.threads = [
            threading.Thread(target=self.send, args=(number, port), daemon=True)
            for number, port in enumerate(ports, 1)
            for _ in range(SENDERS_EACH)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def finish(self, seconds: float) -> list[Message]:
        """No new mail; waits until all there is was answered with 250, and gives what was not."""
        self.brings_new = False
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.open():
            time.sleep(0.1)
        self.stopped.set()
        for thread in self.threads:
            thread.join(65)
        return [message for message in self.ledger.all() if not message.accepted]

    def open(self) -> int:
        with self.lock:
            return len(self.again) + self.in_hand

    def take(self) -> Message | None:
        with self.lock:
            now = time.monotonic()
            due = next((entry for entry in self.again if entry[0] <= now), None)
            if due is not None:
                self.again.remove(due)
            elif not self.brings_new:
                return None
            message = due[1] if due else self.ledger.new(random.choice(self.accounts))
            self.in_hand += 1
            return message

    def give_back(self, message: Message, is_done: bool) -> None:
        with self.lock:
            self.in_hand -= 1
            if not is_done:
                self.again.append((time.monotonic() + RETRY_SECONDS, message))

    def send(self, reception: int, port: int) -> None:
        client: Client | None = None
        time.sleep(random.random() * self.pause)
        next_at = time.monotonic()
        while not self.stopped.is_set():
            client = client or connect(port)
            if client is None:
                self.stopped.wait(0.2)
                continue
            next_at = max(next_at + self.pause, time.monotonic())
            message = self.take()
            if message is not None and not self.send_one(client, reception, message):
                client.close()
                client = None
            self.stopped.wait(max(0.0, next_at - time.monotonic()))
        if client is not None:
            client.close()

    def send_one(self, client: Client, reception: int, message: Message) -> bool:
        begun = time.monotonic()
        outcome, reply = client.send(message.account.address, message.raw())
        self.ledger.note(message, Attempt(reception, begun, time.monotonic(), outcome, reply))
        self.give_back(message, outcome is Outcome.ACCEPTED)
        return outcome is Outcome.ACCEPTED


def connect(port: int) -> Client | None:
    try:
        return Client(port)
    except (OSError, EOFError, Refusal):
        return None

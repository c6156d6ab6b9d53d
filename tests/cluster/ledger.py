"""What was sent, what was answered, and what was seen."""

import threading
import time
from dataclasses import dataclass, field

from cluster import Account
from smtp import Outcome


@dataclass
class Attempt:
    """One transaction of a message."""

    reception: int
    begun: float
    ended: float
    outcome: Outcome
    reply: str


@dataclass
class Message:
    """A message with a word that no other has, so that it is known wherever it turns up."""

    token: str
    account: Account
    # Every attempt sends the same bytes.
    written: float = field(default_factory=time.time)
    attempts: list[Attempt] = field(default_factory=list)
    # The emails that it was listed as, and when first.
    emails: set[str] = field(default_factory=set)
    listed_at: float | None = None

    @property
    def accepted(self) -> Attempt | None:
        return next((one for one in self.attempts if one.outcome is Outcome.ACCEPTED), None)

    def raw(self) -> bytes:
        lines = [
            "From: Sender <sender@example.org>",
            f"To: {self.account.address}",
            f"Subject: {self.token}",
            f"Message-ID: <{self.token}@example.org>",
            f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime(self.written))}",
            "",
            f"The word of this message is {self.token}.",
            *[
                f"Line {number} says that the weather in town is fine and the meeting is at noon."
                for number in range(12)
            ],
        ]
        return "\r\n".join(lines).encode() + b"\r\n"


class Ledger:
    """All messages of one failure. Senders and readers write it at the same time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: dict[str, Message] = {}
        self.lock = threading.Lock()
        self.number = 0

    def new(self, account: Account) -> Message:
        with self.lock:
            self.number += 1
            message = Message(f"{self.name}n{self.number:06}", account)
            self.messages[message.token] = message
            return message

    def note(self, message: Message, attempt: Attempt) -> None:
        with self.lock:
            message.attempts.append(attempt)

    def saw(self, account: Account, token: str, email: str, at: float) -> str | None:
        """A message turned up in a list; a complaint when it should not have."""
        with self.lock:
            message = self.messages.get(token)
            if message is None:
                return None
            message.emails.add(email)
            message.listed_at = message.listed_at or at
            return None if message.account == account else f"{token} is in the mailbox of {account.address}"

    def all(self) -> list[Message]:
        with self.lock:
            return list(self.messages.values())

    def attempts(self) -> list[Attempt]:
        return sorted((one for message in self.all() for one in list(message.attempts)), key=lambda one: one.ended)

    def count(self, outcome: Outcome) -> int:
        return sum(one.outcome is outcome for one in self.attempts())

    def accepted(self) -> list[Message]:
        return [message for message in self.all() if message.accepted]

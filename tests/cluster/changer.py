"""People who change mail while it comes. Each change sets a keyword that no other sets, so that it is known wherever it
turns up.
"""

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from cluster import Account
from jmap import Jmap, MethodError, Unanswered, Unavailable

PAUSE_SECONDS = 0.7
# Of a change for a state.
EMAILS = 3


class Answer(Enum):
    MADE = "made"
    # Said not to have been made.
    REFUSED = "refused"
    # No answer, or one that says so: it may have been made or not.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Change:
    keyword: str
    account: Account
    # All of them were to have it, or none.
    emails: tuple[str, ...]
    # The process of the API that was asked.
    api: int
    # Those of one state were asked for at the same moment, at most one of which may be made (RFC 8620, 5.3: ifInState).
    state: str | None
    answer: Answer


class Changer:
    """Changes what is newest in one account after the other, at all processes of the API at once."""

    def __init__(self, ports: list[int], accounts: list[Account], name: str) -> None:
        self.ports = ports
        self.accounts = accounts
        self.name = name
        self.numbers = itertools.count(1)
        self.changes: list[Change] = []
        self.complaints: list[str] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def finish(self, seconds: float) -> bool:
        """Whether the last change was answered, or given up."""
        self.stopped.set()
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def run(self) -> None:
        with ThreadPoolExecutor(len(self.ports)) as pool:
            for turn, account in enumerate(itertools.cycle(self.accounts)):
                if self.stopped.is_set():
                    return
                self.round(pool, turn % len(self.ports), account)
                self.stopped.wait(PAUSE_SECONDS)

    def round(self, pool: ThreadPoolExecutor, turn: int, account: Account) -> None:
        """One change for a state at each process, then one at one of them that holds whatever the state is."""
        clients = [Jmap(port, account, seconds=30) for port in self.ports]
        try:
            state, emails = newest(clients[turn])
        except Unavailable:
            return
        if len(emails) < EMAILS:
            return
        some = [tuple(random.sample(emails, EMAILS)) for _ in clients]
        asked = [pool.submit(self.change, clients[api], api, some[api], state) for api in range(len(clients))]
        self.changes += [one.result() for one in asked]
        self.changes.append(self.change(clients[turn], turn, some[0][:1], None))

    def change(self, client: Jmap, api: int, emails: tuple[str, ...], state: str | None) -> Change:
        keyword = f"{self.name}c{next(self.numbers)}"
        return Change(keyword, client.account, emails, api, state, self.ask(client, emails, keyword, state))

    def ask(self, client: Jmap, emails: tuple[str, ...], keyword: str, state: str | None) -> Answer:
        condition = {"ifInState": state} if state else {}
        update = {email: {f"keywords/{keyword}": True} for email in emails}
        try:
            answer = client.calls(("Email/set", {**condition, "update": update}))[0]
        except MethodError as error:
            if error.kind != "stateMismatch" or not state:
                self.complaints.append(f"{client.account.address} at {client.port}: {error}")
            return Answer.REFUSED
        except Unanswered as error:
            is_sure = str(error).startswith(("503", "429")) or "serverUnavailable" in str(error)
            return Answer.REFUSED if is_sure else Answer.UNKNOWN
        except Unavailable:
            return Answer.UNKNOWN
        if set(emails) <= set(answer["updated"] or {}):
            return Answer.MADE
        self.complaints.append(f"{client.account.address} at {client.port}: {answer['notUpdated']}")
        return Answer.REFUSED


def newest(client: Jmap) -> tuple[str, list[str]]:
    """The account's state, and some of its emails."""
    sort = [{"property": "receivedAt", "isAscending": False}]
    answers = client.calls(("Email/get", {"ids": []}), ("Email/query", {"sort": sort, "limit": 20}))
    return answers[0]["state"], answers[1]["ids"]


def contradictions(client: Jmap, changes: list[Change]) -> list[str]:
    """What a process of the API shows of an account's changes that is not as they were answered."""
    emails = client.emails(sorted({email for one in changes for email in one.emails}), ["keywords"])
    keywords = {email["id"]: set(email["keywords"]) for email in emails}
    problems = []
    made: dict[str, list[str]] = {}
    for one in changes:
        where = [email for email in one.emails if one.keyword in keywords.get(email, set())]
        what = f"{one.keyword} of {' and '.join(one.emails)}"
        if where and one.state:
            made.setdefault(one.state, []).append(one.keyword)
        if where and len(where) < len(one.emails):
            problems.append(f"{what} is there in a part: {' and '.join(where)}")
        if one.answer is Answer.MADE and not where:
            problems.append(f"{what} was answered as made by api-{one.api + 1} and is not there")
        if one.answer is Answer.REFUSED and where:
            problems.append(f"{what} was refused by api-{one.api + 1} and is there")
    both = [f"{' and '.join(some)} were made for state {state}" for state, some in made.items() if len(some) > 1]
    return [f"{client.account.address} at {client.port}: {problem}" for problem in problems + both]

"""The corpus through a cluster: each message in one mailbox or quarantine, byte for byte, at both APIs."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from checks import patiently
from cluster import REPOSITORY, Account, Cluster
from jmap import Jmap
from push import Push
from scene import say
from smtp import Client, Outcome, canonical

CONNECTIONS = 8
# What we put before the message.
TRACE = (b"Return-Path:", b"Received:")


@dataclass
class Sent:
    account: Account
    raw: bytes


def messages() -> list[bytes]:
    """The corpus where it was fetched, else the sample in the repository."""
    corpus = REPOSITORY / "corpus" / "package" / "data"
    folder = corpus if corpus.is_dir() else REPOSITORY / "tests" / "corpus-sample"
    return [without_from_line(path.read_bytes()) for path in sorted(folder.rglob("*.txt"))]


def without_from_line(raw: bytes) -> bytes:
    """Files of the corpus begin with the line that an mbox has before each message."""
    return raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw


def without_trace(stored: bytes) -> bytes:
    """What the client sent: without the fields that we put before it, each with its folded lines."""
    rest = stored
    for name in TRACE:
        if not rest.startswith(name):
            raise ValueError(f"{name.decode()} should come first: {rest[:80]!r}")
        _, _, rest = rest.partition(b"\r\n")
        while rest[:1] in (b" ", b"\t"):
            _, _, rest = rest.partition(b"\r\n")
    return rest


def send_all(ports: list[int], sent: list[Sent]) -> list[str]:
    """Over several connections, to each reception in turn."""
    numbers, lock = count(), threading.Lock()

    def work(port: int) -> list[str]:
        client = Client(port)
        refused: list[str] = []
        while True:
            with lock:
                number = next(numbers)
            if number >= len(sent):
                client.close()
                return refused
            outcome, reply = client.send(sent[number].account.address, sent[number].raw)
            if outcome is not Outcome.ACCEPTED:
                refused.append(f"message {number} at port {port}: {outcome.value} {reply}")
                client = Client(port)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [line for lines in pool.map(work, (ports * CONNECTIONS)[:CONNECTIONS]) for line in lines]


def run(cluster: Cluster, leave_out: list[str]) -> list[str]:
    """What is wrong."""
    accounts = cluster.add_accounts("corpus", least=6)
    raws = messages()
    sent = [Sent(accounts[number % len(accounts)], raw) for number, raw in enumerate(raws)]
    pushes = [Push(port, account) for account in accounts for port in cluster.http()]
    for push in pushes:
        push.thread.start()
    # Who listens is told of what comes from then on.
    closed = [push for push in pushes if not push.is_listening.wait(60)]
    say(f"corpus: {len(sent)} messages for {len(accounts)} accounts")
    problems = [f"the event source at {push.port} does not open" for push in closed]
    problems += send_all(cluster.smtp(), sent)
    problems += patiently(lambda: screened(cluster), 600)
    quarantined = quarantines(cluster)
    # By process of the API: one that has lost mail must not hide behind the other.
    missing = dict.fromkeys(cluster.http(), 0)
    for account in accounts:
        wanted = Counter(canonical(one.raw) for one in sent if one.account == account)
        for port in cluster.http():
            found, wrong = held(Jmap(port, account, seconds=60), wanted)
            problems += wrong
            missing[port] += len(wanted) - found
        problems += told(account, [push for push in pushes if push.account == account], cluster)
    problems += [
        f"{number} messages are in no mailbox at {port} and {quarantined} in quarantine"
        for port, number in missing.items()
        if number != quarantined
    ]
    if "search" not in leave_out:
        problems += patiently(lambda: list(unfound(cluster, accounts)), 60)
    for push in pushes:
        problems += push.complaints
        push.stopped.set()
    say(f"corpus: {quarantined} in quarantine, the others in their mailboxes; reading all bodies again")
    report = cluster.audit("--bodies")
    problems += [f"audit: {finding}" for finding in report["findings"]]
    for problem in problems:
        say(f"FAILED {problem}")
    return problems


def screened(cluster: Cluster) -> list[str]:
    """Waits: all that was received has ended, and the reports of it are there."""
    report = cluster.audit()
    waiting = [f"{report['in_flight']} in flight"] if report["in_flight"] else []
    return waiting + [f"audit: {finding}" for finding in report["findings"]]


def quarantines(cluster: Cluster) -> int:
    rows = cluster.query("SELECT count(*) AS n FROM delivery WHERE event = 'quarantine'")
    return int(rows[0]["n"])


def held(client: Jmap, wanted: Counter[bytes]) -> tuple[int, list[str]]:
    """How many of the wanted messages an account has, each once and as it was sent."""
    found: Counter[bytes] = Counter()
    where = f"{client.account.address} at {client.port}"
    for email in client.emails(client.query(), ["blobId"]):
        found[without_trace(client.download(email["blobId"]))] += 1
    problems = [f"{where}: a body that nobody sent: {body[:80]!r}" for body in found if body not in wanted]
    problems += [f"{where}: {times} times: {body[:80]!r}" for body, times in found.items() if times > 1]
    return len(found), problems


def told(account: Account, pushes: list[Push], cluster: Cluster) -> list[str]:
    """Who listens at either process heard of the last change, whoever landed it."""
    state = max(Jmap(port, account).state() for port in cluster.http())
    return [
        f"{account.address} at {one.port}: push told {one.state}, the state is {state}"
        for one in pushes
        if not one.wait_for(state, 30)
    ]


def unfound(cluster: Cluster, accounts: list[Account]) -> Iterator[str]:
    """A search for a word of each account's newest email gives that email, at either process."""
    for account in accounts:
        for port in cluster.http():
            client = Jmap(port, account)
            for email in client.emails(client.query()[:3], ["id", "subject"]):
                word = max(re.findall(r"[A-Za-z]+", email["subject"] or ""), key=len, default="")
                if len(word) > 4 and email["id"] not in client.query({"text": word}):
                    yield f"{account.address} at {port}: {email['id']} is not found by {word}"

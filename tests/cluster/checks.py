"""What must hold after a failure, and what it cost."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from changer import Answer, contradictions
from cluster import PARTITIONS, Cluster, CommandFailed
from jmap import Jmap, MethodError, Unavailable
from ledger import Ledger, Message
from reader import Reader
from scene import Scene, say
from smtp import Outcome

# How long recovery may take. It is reported; only past this does it count as none.
PATIENCE_SECONDS = 120.0


@dataclass
class Verdict:
    """The row of one failure."""

    name: str
    title: str
    accepted: int = 0
    put_off: int = 0
    lost: int = 0
    pause_s: float = 0.0
    taken_s: float | None = None
    shown_s: float | None = None
    found_s: float | None = None
    listing_s: float = 0.0
    unanswered: int = 0
    missing: int = 0
    doubled: int = 0
    changed: int = 0
    # Of these, for a state.
    held: int = 0
    outrun: int = 0
    audit: str = ""
    evidence: str = ""
    problems: list[str] = field(default_factory=list)


def happened(scene: Scene, verdict: Verdict) -> None:
    """The failure took place: one that did not would prove nothing."""
    verdict.evidence = "; ".join(scene.evidence)
    say(f"    seen: {verdict.evidence}")
    verdict.problems += [f"the failure did not take place: {doubt}" for doubt in scene.doubts]
    if not scene.evidence:
        verdict.problems.append("nothing shows that the failure took place")


def listed(scene: Scene, verdict: Verdict) -> None:
    """Every 250 is listed to the reader of its account, once."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    told_at = time.monotonic()
    while time.monotonic() < deadline and (left := unlisted(scene)):
        if time.monotonic() > told_at + 10:
            told_at = time.monotonic()
            say(f"    {len(left)} of {len(scene.ledger.accepted())} are not listed yet")
        time.sleep(0.2)
    lacking = unlisted(scene)
    verdict.missing = len(lacking)
    if lacking:
        verdict.problems.append(f"{len(lacking)} answered 250 and never listed: {names(lacking)}")
    twice = [message for message in scene.ledger.all() if len(message.emails) > 1]
    verdict.doubled = len(twice)
    if twice:
        verdict.problems.append(f"{len(twice)} listed as more than one email: {names(twice)}")


def unlisted(scene: Scene) -> list[Message]:
    return [message for message in scene.ledger.accepted() if not message.emails]


def names(messages: list[Message]) -> str:
    shown = [f"{one.token} ({one.account.address}, partition {one.account.partition})" for one in messages[:5]]
    return ", ".join(shown) + (" …" if len(messages) > 5 else "")


def replies(scene: Scene, verdict: Verdict) -> None:
    """Mail may be put off while a failure lasts, and never refused."""
    verdict.accepted = scene.ledger.count(Outcome.ACCEPTED)
    verdict.put_off = scene.ledger.count(Outcome.PUT_OFF)
    verdict.lost = scene.ledger.count(Outcome.LOST)
    said = Counter(one.reply for one in scene.ledger.attempts() if one.outcome is Outcome.REFUSED)
    verdict.problems += [f"refused {times} times: {reply}" for reply, times in said.items()]
    others = Counter(
        f"{one.outcome.value} at reception-{one.reception}: {one.reply}"
        for one in scene.ledger.attempts()
        if one.outcome in (Outcome.PUT_OFF, Outcome.LOST)
    )
    for reply, times in others.most_common(6):
        say(f"    {times} times {reply}")


def times(scene: Scene, verdict: Verdict) -> None:
    accepted = [one for one in scene.ledger.attempts() if one.outcome is Outcome.ACCEPTED]
    moments = [scene.began_at, *(one.ended for one in accepted if one.ended > scene.began_at)]
    verdict.pause_s = max((after - before for before, after in pairwise(moments)), default=0.0)
    firsts: dict[int, float] = {}
    for one in accepted:
        if one.begun >= scene.ended_at:
            firsts.setdefault(one.reception, one.ended - scene.ended_at)
    verdict.taken_s = max(firsts.values()) if len(firsts) == len(scene.cluster.smtp()) else None
    if verdict.taken_s is None:
        verdict.problems.append("a reception took no mail again")
    # Of each partition: one that nobody serves must not hide behind the others.
    shown: dict[int, float] = {}
    for message in scene.ledger.all():
        attempt = message.accepted
        # One whose 250 was lost may have been listed before it was sent again.
        if attempt and message.listed_at and message.listed_at >= attempt.begun >= scene.ended_at:
            seconds = message.listed_at - scene.ended_at
            partition = message.account.partition
            shown[partition] = min(shown.get(partition, seconds), seconds)
    if dark := set(range(PARTITIONS)) - set(shown):
        verdict.problems.append(f"mail was never shown again in partitions {sorted(dark)}")
    else:
        verdict.shown_s = max(shown.values())
    verdict.listing_s = max(reader.worst_latency(scene.began_at) for reader in scene.readers)
    verdict.unanswered = sum(reader.unanswered for reader in scene.readers)
    for reader in scene.readers:
        if reader.unanswered:
            say(f"    {reader.account.address}: {reader.unanswered} requests without an answer; {reader.last_error}")
            break


def readers(scene: Scene, verdict: Verdict) -> None:
    """A client that applied changes has the list that one has who asks for it whole."""
    for reader in scene.readers:
        verdict.problems += reader.complaints
        if reader.resyncs:
            say(f"    {reader.account.address} had to ask for its list anew {reader.resyncs} times")
        for api in (0, 1):
            client = scene.client(api, reader.account)
            verdict.problems += patiently(partial(differences, client, reader), 20)


def differences(client: Jmap, reader: Reader) -> list[str]:
    fresh = set(client.query())
    kept = set(reader.listed)
    if fresh == kept:
        return []
    who = reader.account.address
    more, less = kept - fresh, fresh - kept
    return [f"{who}: by changes {len(kept)} emails, asked anew {len(fresh)}: {list(more)[:3]} against {list(less)[:3]}"]


def patiently(look: Callable[[], list[str]], seconds: float) -> list[str]:
    """What a look still finds wrong when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (*Unavailable, MethodError, CommandFailed) as error:
            found = [f"{type(error).__name__}: {error}"]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def changes(scene: Scene, verdict: Verdict) -> None:
    """Mail is as each change was answered, at every process of the API, and of those for one state at most one was made."""
    asked = list(scene.changer.changes)
    verdict.changed = sum(one.answer is Answer.MADE for one in asked)
    verdict.held = sum(one.answer is Answer.MADE and one.state is not None for one in asked)
    verdict.outrun = sum(one.answer is Answer.REFUSED and one.state is not None for one in asked)
    verdict.problems += scene.changer.complaints
    if not verdict.changed:
        verdict.problems.append(f"of {len(asked)} changes of mail none was made")
    for account in scene.accounts:
        of_account = [one for one in asked if one.account == account]
        for api in (0, 1):
            client = scene.client(api, account)
            verdict.problems += patiently(partial(contradictions, client, of_account), 20)


def pushes(scene: Scene, verdict: Verdict) -> None:
    """Everyone who listens was told of the newest state."""
    for push in scene.pushes:
        verdict.problems += push.complaints
        push.complaints = []
        state = next(reader.state for reader in scene.readers if reader.account == push.account)
        if not push.wait_for(state, 15):
            verdict.problems.append(
                f"push at {push.port} for {push.account.address} told {push.state} and the state is {state}"
            )


def search(scene: Scene, verdict: Verdict) -> None:
    """The newest mail of each account is found at each process of the API."""
    newest: dict[str, Message] = {}
    for message in scene.ledger.accepted():
        newest[message.account.address] = message
    begun = time.monotonic()

    def look() -> list[str]:
        asked = [(scene.client(api, message.account), message) for message in newest.values() for api in (0, 1)]
        lacking = [f"{message.token} at {one.port}" for one, message in asked if not one.query({"text": message.token})]
        return [f"{len(lacking)} searches of {len(asked)} find nothing: {', '.join(lacking[:3])}"] if lacking else []

    verdict.problems += patiently(look, 40)
    verdict.found_s = time.monotonic() - begun
    say(f"    the newest mail of {len(newest)} accounts was found at both within {verdict.found_s:.1f} s")


def audit(scene: Scene, verdict: Verdict) -> None:
    """The audit is clean, by which each message ended once, in one row and one event."""
    report: dict[str, Any] = {}

    def look() -> list[str]:
        report.update(scene.cluster.audit())
        in_flight = [f"{report['in_flight']} in flight"] if report["in_flight"] else []
        return in_flight + [f"audit: {finding}" for finding in report["findings"]]

    found = patiently(look, 60)
    verdict.problems += found
    verdict.audit = "clean" if not found else "; ".join(found)[:200]


def rows(cluster: Cluster, ledgers: list[Ledger]) -> list[str]:
    """In SQL: each message that was answered 250 is one row of its mailbox, whichever failure it came in."""
    sql = "SELECT subject, account_id, count(*) AS n FROM mailbox GROUP BY subject, account_id"
    found = {(row["subject"], row["account_id"]): row["n"] for row in cluster.query(sql)}
    problems = []
    for message in (message for ledger in ledgers for message in ledger.accepted()):
        times = found.get((message.token, message.account.id), 0)
        if times != 1:
            problems.append(f"{message.token} is {times} times in SQL")
    return [f"{len(problems)} of {len(found)}: " + "; ".join(problems[:5])] if problems else []


def processes(scene: Scene, verdict: Verdict, ended: tuple[str, ...]) -> None:
    """Nobody died who was not killed. Who did is started again, for the failures that follow."""
    dead = scene.cluster.died()
    restarted = scene.cluster.changed() - set(ended) - set(dead)
    if dead or restarted:
        verdict.problems.append(f"died by themselves: {' '.join([*dead, *sorted(restarted)])}")
    if dead:
        scene.cluster.start(*dead)


ALL: list[Callable[[Scene, Verdict], None]] = [happened, listed, replies, times, readers, changes, pushes, search, audit]

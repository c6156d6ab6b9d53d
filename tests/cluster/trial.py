"""One failure after the other in one cluster, each with its checks."""

import time

import checks
import table
from checks import Verdict
from cluster import Cluster, CommandFailed
from failures import Failure
from ledger import Ledger
from scene import Scene, say

WARM_SECONDS = 4.0
# Load goes on at least so long after the failure, and until all is served again, but no longer than what follows.
AFTER_SECONDS = 3.0
PATIENCE_SECONDS = 90.0


def group(cluster: Cluster, failures: list[Failure], rate: float, leave_out: list[str]) -> list[Verdict]:
    """The verdicts, up to the first that is bad: what is still wrong would be blamed on the failures that follow.

    What SQL lacks at the end is told with the last.
    """
    scene = Scene(cluster, cluster.add_accounts("user", least=6), rate)
    scene.watch()
    verdicts: list[Verdict] = []
    ledgers: list[Ledger] = []
    try:
        for number, failure in enumerate(failures):
            verdicts.append(one(scene, failure, number, leave_out))
            ledgers.append(scene.ledger)
            if verdicts[-1].problems:
                break
    finally:
        scene.leave()
    made = sum(verdict.changed for verdict in verdicts)
    if made >= 20 and not any(verdict.held for verdict in verdicts):
        verdicts[-1].problems.append(f"of {made} changes made none was for a state")
    say("  checking every message in SQL")
    for problem in checks.patiently(lambda: checks.rows(cluster, ledgers), 60):
        verdicts[-1].problems.append(problem)
        say(f"  FAILED {problem}")
    return verdicts


def one(scene: Scene, failure: Failure, number: int, leave_out: list[str]) -> Verdict:
    say(failure.title)
    begun = time.monotonic()
    verdict = Verdict(failure.name, failure.title)
    # One word however it is split; another run in the same cluster has others.
    scene.begin(f"t{int(time.time()) % 1_000_000:06}f{number:02}")
    time.sleep(WARM_SECONDS)
    scene.began()
    try:
        failure.happen(scene)
    except (CommandFailed, OSError) as error:
        verdict.problems.append(f"{type(error).__name__}: {error}")
    over = time.monotonic()
    time.sleep(AFTER_SECONDS)
    while not scene.is_served() and time.monotonic() < over + PATIENCE_SECONDS:
        time.sleep(0.2)
    say("  the failure is over; sending the rest")
    unsent = scene.load.finish(PATIENCE_SECONDS)
    sent = time.monotonic()
    if not scene.changer.finish(PATIENCE_SECONDS):
        verdict.problems.append("a change of mail was never answered")
    if unsent:
        verdict.problems.append(f"{len(unsent)} never answered with 250: {checks.names(unsent)}")
    for check in checks.ALL:
        if check.__name__ not in leave_out:
            say(f"  checking {check.__name__}")
            check(scene, verdict)
    checks.processes(scene, verdict, failure.ends)
    done = time.monotonic()
    parts = f"failure {over - begun:.0f}, recovery {sent - over:.0f}, checks {done - sent:.0f}"
    say(f"  took {done - begun:.0f} s: {parts}")
    say(f"  {table.row(verdict)}")
    for problem in verdict.problems:
        say(f"  FAILED {problem}")
    return verdict

"""The failures, each as something that is done to a cluster under load, until it is whole again.

Each shows that it took place.
"""

import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster import ROLES
from evidence import (
    EVERY_PARTITION,
    Log,
    is_silent,
    landings,
    rebalances,
    unlanded,
    wait_until,
    wait_until_gathering,
)
from scene import Scene
from smtp import Outcome

# Longer than a member of a group may be silent, which is 10 s.
SESSION_SECONDS = 25
# The same, as short as it can be.
AWAY_SECONDS = 12
STOP_SECONDS = 30.0

# Those whose partitions go to the other of their role.
MEMBERS = ("pipelines", "lander")


@dataclass(frozen=True)
class Failure:
    name: str
    title: str
    happen: Callable[[Scene], None]
    # Those who end by it and were started again.
    ends: tuple[str, ...] = ()
    # Part of the short run.
    is_quick: bool = False


def end(scene: Scene, verb: str, *names: str) -> None:
    """Kills or stops, and makes sure that they are gone."""
    begun = time.monotonic()
    scene.cluster.control(verb, *names)
    if verb == "stop":
        took = time.monotonic() - begun
        scene.prove(took < STOP_SECONDS, f"{' '.join(names)} ended within {took:.0f} s of SIGTERM")
    now = scene.cluster.status()
    wrong = [f"{name} is {now[name]['state']}" for name in names if now[name]["state"] not in ("dead", "stopped")]
    scene.prove(not wrong, "; ".join(wrong) or f"{' '.join(names)} gone")


def start(scene: Scene, *names: str) -> None:
    """Starts what was ended, which are other processes then."""
    scene.cluster.start(*names)
    same = set(names) - scene.cluster.changed()
    scene.prove(not same, f"{' '.join(sorted(same))} never ended" if same else "other process ids")


def other(name: str) -> str:
    role, _, number = name.rpartition("-")
    return f"{role}-{3 - int(number)}"


def kill_one(role: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        moves = Moves(scene, f"{role}-1") if role in MEMBERS else None
        scene.began()
        end(scene, "kill", f"{role}-1")
        scene.wait(AWAY_SECONDS)
        if moves:
            moves.prove()
        scene.ended()
        start(scene, f"{role}-1")

    return happen


class Moves:
    """The partitions of one go to the other."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.heir = scene, other(name)
        self.log = Log(scene.cluster, self.heir)
        self.rebalances = rebalances(scene.cluster, self.heir)

    def has_all(self) -> bool:
        if self.heir.startswith("lander"):
            return self.log.taken_over() == EVERY_PARTITION
        return rebalances(self.scene.cluster, self.heir) > self.rebalances

    def prove(self) -> None:
        """A while may pass: who is silent is given up when the session is over, and asked back once more."""
        wait_until(self.has_all, f"{self.heir} takes over", 30)
        self.scene.prove(True, f"its partitions moved to {self.heir}")


def kill_each(scene: Scene) -> None:
    """One of each role, the next when the one before is back."""
    scene.began()
    for role in ROLES:
        end(scene, "kill", f"{role}-1")
        scene.wait(3)
        scene.ended()
        start(scene, f"{role}-1")


def kill_both(role: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        both = (f"{role}-1", f"{role}-2")
        scene.began()
        end(scene, "kill", *both)
        scene.wait(10)
        scene.ended()
        start(scene, *both)

    return happen


def drain_one(role: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        end(scene, "stop", f"{role}-2")
        scene.wait(4)
        scene.ended()
        start(scene, f"{role}-2")

    return happen


def freeze(name: str, seconds: float) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        moves = Moves(scene, name) if name.startswith(MEMBERS) else None
        scene.began()
        stand_still(scene, name)
        scene.wait(seconds)
        if moves:
            moves.prove()
        scene.cluster.control("thaw", name)
        scene.ended()
        # It learns what it has lost, and must not have written before.
        scene.wait(10)

    return happen


def stand_still(scene: Scene, name: str) -> None:
    scene.cluster.control("freeze", name)
    state = scene.cluster.status()[name]["state"]
    scene.prove(state == "frozen" and is_silent(scene.cluster, name), f"{name} {state} and silent")


def two_landers(scene: Scene) -> None:
    """Thrice, each of them in turn is the one that does not know."""
    scene.began()
    for name in ("lander-1", "lander-2", "lander-1"):
        land_what_another_has_landed(scene, name)


def land_what_another_has_landed(scene: Scene, name: str) -> None:
    """A lander stands still with rows in hand, and wakes when its heir has landed them.

    From then until it is refused, both believe that they own the partitions, and both write.
    """
    heir = other(name)
    wait_until_gathering(scene.cluster, name)
    own, heirs = Log(scene.cluster, name), Log(scene.cluster, heir)
    stand_still(scene, name)
    wait_until(lambda: heirs.taken_over() == EVERY_PARTITION, f"{heir} takes over")
    before = landings(scene.cluster, heir)
    wait_until(lambda: landings(scene.cluster, heir) > before, f"{heir} lands")
    scene.cluster.control("thaw", name)
    scene.ended()
    wait_until(lambda: bool(own.refused()), f"{name} is refused what it had in hand", 30)
    scene.prove(True, f"{heir} took over and landed, {name} refused ({own.refused()[0]})")
    wait_until(own.lands_again, f"{name} lands again")


def outage(names: tuple[str, ...], seconds: float, verb: str = "stop") -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        end(scene, verb, *names)
        scene.wait(seconds)
        scene.ended()
        start(scene, *names)

    return happen


def stop_kafka(scene: Scene) -> None:
    scene.began()
    end(scene, "stop", *KAFKA)
    gone_at = time.monotonic()
    scene.wait(30)
    scene.ended()
    taken = [one for one in scene.ledger.attempts() if one.outcome is Outcome.ACCEPTED and one.begun > gone_at]
    scene.prove(not taken, f"{len(taken)} answers of 250 without a log" if taken else "no 250 without a log")
    start(scene, *KAFKA)


def flush_redis(scene: Scene) -> None:
    scene.began()
    # As one step: what is lost is filled in again at once.
    answers = redis(scene, "MULTI", "DBSIZE", "FLUSHALL", "DBSIZE", "EXEC")
    scene.ended()
    before, after = int(answers[-3][1:]), int(answers[-1][1:])
    scene.prove(before > 0 and after == 0, f"{before} keys, then {after}")


def redis(scene: Scene, *commands: str) -> list[bytes]:
    """The lines that it answered, one for each command and those of the last."""
    password = (scene.cluster.folder / "secrets" / "redis.password").read_text()
    with socket.create_connection(("127.0.0.1", scene.cluster.port("redis")), timeout=10) as connection:
        connection.sendall("".join(f"{command}\r\n" for command in (f"AUTH {password}", *commands, "QUIT")).encode())
        answers = connection.makefile("rb").read().splitlines()
    assert answers[0] == b"+OK" and answers[-1] == b"+OK", answers
    return answers[1:-1]


def lose_redis(scene: Scene) -> None:
    scene.began()
    end(scene, "kill", "redis")
    shutil.rmtree(scene.cluster.folder / "data" / "redis")
    scene.wait(5)
    scene.ended()
    start(scene, "redis")


# How the proxy calls what it did, by the option that asked for it.
FATES = {"--errors": "error", "--resets": "reset", "--lost-answers": "lost answer", "--delay-ms": "delayed"}


def faulty_s3(seconds: float, *options: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        proxy = Log(scene.cluster, "s3-faults")
        scene.began()
        scene.cluster.control("fault", "s3", *options)
        scene.wait(seconds)
        scene.cluster.control("fault", "s3", "--clear")
        scene.ended()
        for fate in (FATES[option] for option in options if option in FATES):
            times = proxy.count(f"{fate}:")
            scene.prove(times > 0, f"{times} requests of S3: {fate}")

    return happen


def kill_landers_while_landing(scene: Scene) -> None:
    """Both at once, thrice, a little later in their landing interval each time."""
    scene.began()
    for pause in (2.0, 3.3, 4.7):
        scene.wait(pause)
        rows = [unlanded(scene.cluster, name) for name in ("lander-1", "lander-2")]
        end(scene, "kill", "lander-1", "lander-2")
        scene.prove(sum(rows) > 0, f"{sum(rows):.0f} rows had not landed")
        scene.ended()
        start(scene, "lander-1", "lander-2")
        scene.cluster.remember()


def killings() -> list[Failure]:
    found = []
    for role in ROLES:
        title = f"`kill -9` of one {role} of two, back after {AWAY_SECONDS} s"
        found.append(Failure(f"kill-{role}", title, kill_one(role), (f"{role}-1",)))
    for role in ROLES:
        both = (f"{role}-1", f"{role}-2")
        found.append(Failure(f"kill-both-{role}", f"`kill -9` of both: {role}, back after 10 s", kill_both(role), both))
    for role in ROLES:
        found.append(
            Failure(f"drain-{role}", f"SIGTERM to one {role} of two, back after 4 s", drain_one(role), (f"{role}-2",))
        )
    return found


KAFKA = ("kafka-1", "kafka-2", "kafka-3")

FAILURES = [
    Failure(
        "kill-each",
        "`kill -9` of one of each role in turn, each back after 3 s",
        kill_each,
        tuple(f"{role}-1" for role in ROLES),
        is_quick=True,
    ),
    *killings(),
    Failure(
        "kill-landing",
        "`kill -9` of both landers thrice, with rows that have not landed",
        kill_landers_while_landing,
        ("lander-1", "lander-2"),
    ),
    Failure(
        "two-landers",
        "two landers own the same partitions, thrice: one frozen with rows in hand, woken when the other landed them",
        two_landers,
        is_quick=True,
    ),
    Failure(
        "freeze-lander",
        f"one lander frozen for {SESSION_SECONDS} s, past its session, and woken",
        freeze("lander-1", SESSION_SECONDS),
    ),
    Failure(
        "two-pipelines",
        f"one pipelines frozen for {SESSION_SECONDS} s, past its session, and woken",
        freeze("pipelines-1", SESSION_SECONDS),
    ),
    Failure("freeze-reception", "one reception frozen for 15 s and woken", freeze("reception-1", 15)),
    Failure("freeze-api", "one api frozen for 15 s and woken", freeze("api-1", 15)),
    Failure("kafka", "Kafka stopped, all brokers, for 30 s", stop_kafka, KAFKA, is_quick=True),
    Failure(
        "broker",
        "`kill -9` of one broker of three, back after 15 s",
        outage(("kafka-2",), 15, "kill"),
        ("kafka-2",),
        is_quick=True,
    ),
    Failure("redis-flush", "Redis flushed (FLUSHALL)", flush_redis, is_quick=True),
    Failure("redis-stop", "Redis stopped for 20 s", outage(("redis",), 20), ("redis",), is_quick=True),
    Failure("redis-lost", "`kill -9` of Redis, its data folder removed, back after 5 s", lose_redis, ("redis",)),
    Failure("s3-errors", "S3 answers 30 % with 500 for 20 s", faulty_s3(20, "--errors", "0.3"), is_quick=True),
    Failure(
        "s3-lost",
        "S3 loses 20 % of its answers and resets 10 % for 20 s",
        faulty_s3(20, "--lost-answers", "0.2", "--resets", "0.1"),
    ),
    Failure(
        "s3-slow",
        "S3 takes 2 s more for each request, for 20 s",
        faulty_s3(20, "--delay-ms", "2000"),
        is_quick=True,
    ),
    Failure("s3-down", "S3 answers everything with 500 for 20 s", faulty_s3(20, "--errors", "1")),
    Failure(
        "postgres",
        "`kill -9` of PostgreSQL, back after 6 s",
        outage(("postgres",), 6, "kill"),
        ("postgres",),
        is_quick=True,
    ),
]

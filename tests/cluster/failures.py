"""The failures, each as something that is done to a cluster under load, until it is whole again."""

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass

from cluster import ROLES
from scene import Scene

# Longer than a member of a group may be silent.
SESSION_SECONDS = 25


@dataclass(frozen=True)
class Failure:
    name: str
    title: str
    happen: Callable[[Scene], None]
    # Those who end by it and were started again.
    ends: tuple[str, ...] = ()
    # Part of the short run.
    is_quick: bool = False


def kill_one(role: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        scene.cluster.control("kill", f"{role}-1")
        scene.wait(8)
        scene.ended()
        scene.cluster.start(f"{role}-1")

    return happen


def kill_both(role: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        scene.cluster.control("kill", f"{role}-1", f"{role}-2")
        scene.wait(10)
        scene.ended()
        scene.cluster.start(f"{role}-1", f"{role}-2")

    return happen


def drain_one(role: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        scene.cluster.control("stop", f"{role}-2")
        scene.wait(4)
        scene.ended()
        scene.cluster.start(f"{role}-2")

    return happen


def freeze(name: str, seconds: float) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        scene.cluster.control("freeze", name)
        scene.wait(seconds)
        scene.cluster.control("thaw", name)
        scene.ended()
        # It learns what it has lost, and must not have written before.
        scene.wait(10)

    return happen


def outage(name: str, seconds: float, verb: str = "stop") -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        scene.cluster.control(verb, name)
        scene.wait(seconds)
        scene.ended()
        scene.cluster.start(name)

    return happen


def flush_redis(scene: Scene) -> None:
    scene.began()
    redis(scene, "FLUSHALL")
    scene.ended()


def redis(scene: Scene, command: str) -> None:
    password = (scene.cluster.folder / "secrets" / "redis.password").read_text()
    with socket.create_connection(("127.0.0.1", scene.cluster.port("redis")), timeout=10) as connection:
        connection.sendall(f"AUTH {password}\r\n{command}\r\n".encode())
        answer = connection.makefile("rb")
        answers = [answer.readline().strip() for _ in range(2)]
    assert answers == [b"+OK", b"+OK"], answers


def lose_redis(scene: Scene) -> None:
    scene.began()
    scene.cluster.control("kill", "redis")
    shutil.rmtree(scene.cluster.folder / "data" / "redis")
    scene.wait(5)
    scene.ended()
    scene.cluster.start("redis")


def faulty_s3(seconds: float, *options: str) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.began()
        scene.cluster.control("fault", "s3", *options)
        scene.wait(seconds)
        scene.cluster.control("fault", "s3", "--clear")
        scene.ended()

    return happen


def restart_postgres(scene: Scene) -> None:
    scene.began()
    scene.cluster.control("kill", "postgres")
    scene.wait(6)
    scene.ended()
    scene.cluster.start("postgres")


def kill_landers_while_landing(scene: Scene) -> None:
    """Both at once, thrice, a little later in their landing interval each time."""
    scene.began()
    for pause in (2.0, 3.3, 4.7):
        scene.wait(pause)
        scene.cluster.control("kill", "lander-1", "lander-2")
        scene.ended()
        scene.cluster.start("lander-1", "lander-2")


def killings() -> list[Failure]:
    found = []
    for role in ROLES:
        quick = role in ("lander", "pipelines")
        found.append(
            Failure(
                f"kill-{role}", f"`kill -9` of one {role} of two, back after 8 s", kill_one(role), (f"{role}-1",), quick
            )
        )
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
    *killings(),
    Failure(
        "kill-landing",
        "`kill -9` of both landers thrice, while a landing is under way",
        kill_landers_while_landing,
        ("lander-1", "lander-2"),
    ),
    Failure(
        "two-landers",
        f"one lander frozen for {SESSION_SECONDS} s, past its session, and woken",
        freeze("lander-1", SESSION_SECONDS),
        is_quick=True,
    ),
    Failure(
        "two-pipelines",
        f"one pipelines frozen for {SESSION_SECONDS} s, past its session, and woken",
        freeze("pipelines-1", SESSION_SECONDS),
    ),
    Failure("freeze-reception", "one reception frozen for 15 s and woken", freeze("reception-1", 15)),
    Failure("freeze-api", "one api frozen for 15 s and woken", freeze("api-1", 15)),
    Failure("kafka", "Kafka stopped, all brokers, for 30 s", outage("kafka", 30), KAFKA),
    Failure(
        "broker",
        "`kill -9` of one broker of three, back after 15 s",
        outage("kafka-2", 15, "kill"),
        ("kafka-2",),
        is_quick=True,
    ),
    Failure("redis-flush", "Redis flushed (FLUSHALL)", flush_redis, is_quick=True),
    Failure("redis-stop", "Redis stopped for 20 s", outage("redis", 20), ("redis",)),
    Failure("redis-lost", "`kill -9` of Redis, its data folder removed, back after 5 s", lose_redis, ("redis",)),
    Failure("s3-errors", "S3 answers 30 % with 500 for 20 s", faulty_s3(20, "--errors", "0.3"), is_quick=True),
    Failure(
        "s3-lost",
        "S3 loses 20 % of its answers and resets 10 % for 20 s",
        faulty_s3(20, "--lost-answers", "0.2", "--resets", "0.1"),
    ),
    Failure("s3-slow", "S3 takes 2 s more for each request, for 20 s", faulty_s3(20, "--delay-ms", "2000")),
    Failure("s3-down", "S3 answers everything with 500 for 20 s", faulty_s3(20, "--errors", "1")),
    Failure("postgres", "`kill -9` of PostgreSQL, back after 6 s", restart_postgres, ("postgres",)),
]

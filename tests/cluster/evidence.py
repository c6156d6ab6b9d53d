"""What shows that a failure took place: states and ids of processes, what they say, what they count."""

import http.client
import re
import time
from collections.abc import Callable

from cluster import PARTITIONS, Cluster, CommandFailed

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
STARTS = re.compile(r"landing starts partition=(\d+)")
# The tables have refused rows that another lander had landed already: changes to mail, or events, which land by themselves.
REFUSED = re.compile(r"(\w+) has moved: partition (\d+) stands at (\d+), and this commit starts at (\d+)")
EVERY_PARTITION = set(range(PARTITIONS))


class Log:
    """What a process says from now on."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.file = cluster.folder / "logs" / f"{name}.log"
        self.begin = self.file.stat().st_size

    def text(self) -> str:
        with open(self.file, "rb") as file:
            file.seek(self.begin)
            return COLOURS.sub("", file.read().decode(errors="replace"))

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self.text().splitlines())

    def taken_over(self) -> set[int]:
        """Partitions from which a lander has begun to land."""
        return {int(partition) for partition in STARTS.findall(self.text())}

    def refused(self) -> list[str]:
        """Rows of a lander that the tables did not take, since another had landed further meanwhile."""
        return [
            f"{table} {partition}: from {start}, stood at {stands}"
            for table, partition, stands, start in REFUSED.findall(self.text())
            if int(stands) > int(start)
        ]

    def lands_again(self) -> bool:
        """Whether a lander that was refused has begun anew."""
        *_, after = self.text().rpartition("partitions have moved")
        return bool(STARTS.search(after))


def metric(cluster: Cluster, name: str, wanted: str) -> float:
    """The sum over all labels of what a process counts."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port(f"{name}-http"), timeout=20)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    except (OSError, http.client.HTTPException) as error:
        raise CommandFailed(f"{name} does not tell its metrics: {error!r}") from error
    finally:
        connection.close()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{wanted}[ {{]", line))


def rebalances(cluster: Cluster, name: str) -> float:
    return metric(cluster, name, "millrace_log_rebalances_total")


def unlanded(cluster: Cluster, name: str) -> float:
    return metric(cluster, name, "millrace_lander_unlanded_rows")


def landings(cluster: Cluster, name: str) -> float:
    return metric(cluster, name, "millrace_lander_landing_seconds_count")


def is_silent(cluster: Cluster, name: str) -> bool:
    """Whether a process of Millrace does not even say that it lives."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port(f"{name}-http"), timeout=2)
    try:
        connection.request("GET", "/livez")
        connection.getresponse()
    except OSError:
        return True
    finally:
        connection.close()
    return False


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """For what makes a failure the one that it is called."""
    deadline = time.monotonic() + seconds
    while not holds(condition):
        if time.monotonic() > deadline:
            raise CommandFailed(f"the failure did not take place: {what} not within {seconds:.0f} s")
        time.sleep(0.1)


def holds(condition: Callable[[], bool]) -> bool:
    """Not yet, when a process that was just woken or is busy does not answer."""
    try:
        return condition()
    except CommandFailed:
        return False


def wait_until_gathering(cluster: Cluster, name: str) -> None:
    """Until a lander has landed and then taken some rows again, so that it keeps them for most of its interval."""
    before = landings(cluster, name)
    wait_until(lambda: landings(cluster, name) > before, f"{name} has landed")
    wait_until(lambda: unlanded(cluster, name) >= 3, f"{name} has rows that did not land")

#!/usr/bin/env python3
"""The services of a cluster, started for real: what survives, what is known of each, and that nothing stays behind."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import install
import ports
import process
from services import kafka, s3

HERE = Path(__file__).resolve().parent
CREATE_TOPICS = 19


class Cluster:
    """The command under test, with a folder of its own."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-cluster-test-"))
        self.options = options

    def run(self, *arguments: str, fails: bool = False) -> str:
        command = [str(HERE / "cluster"), *arguments, "--dir", str(self.folder)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if (result.returncode != 0) != fails:
            raise AssertionError(f"cluster {' '.join(arguments)} gave {result.returncode}:\n{result.stderr}")
        return result.stderr if fails else result.stdout

    def up(self) -> str:
        return self.run("up", "--services-only", *self.options)

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.run("status", "--json"))}

    def state(self, name: str) -> str:
        return str(self.status()[name]["state"])

    def pids(self) -> dict[str, int | None]:
        return {name: row["pid"] for name, row in self.status().items()}

    def env(self) -> dict[str, str]:
        return dict(json.loads(self.run("env", "--json")))

    def processes(self) -> set[int]:
        """Everything alive that was started in the folder, recorded or not."""
        found = set()
        for pid, facts in process.every_process().items():
            where = process.link(pid, "cwd")
            if facts.state != "Z" and where is not None and where.is_relative_to(self.folder):
                found.add(pid)
        return found

    def remove(self) -> None:
        if (self.folder / "state.json").exists():
            self.run("down", "--remove")
        shutil.rmtree(self.folder, ignore_errors=True)

    def redis(self, *command: str) -> str:
        line = ["redis-cli", "--no-auth-warning", "-u", self.env()["MILLRACE_TEST_REDIS"], *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    def sql(self, text: str) -> str:
        line = ["psql", self.env()["MILLRACE_TEST_POSTGRES"], "-qtAXc", text]
        return subprocess.run(line, capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    def s3(self, method: str, path: str) -> int:
        env = self.env()
        port = int(env["MILLRACE_TEST_S3"].rpartition(":")[2])
        return s3.request(port, env["MILLRACE_TEST_S3_SECRET"], method, path)

    def create_topic(self, name: str, replicas: int) -> None:
        # Version 4: one topic with one partition, 20 s, for real.
        text = name.encode()
        topic = struct.pack(">h", len(text)) + text + struct.pack(">ihii", 1, replicas, 0, 0)
        port = int(self.env()["MILLRACE_TEST_KAFKA"].split(",")[0].rpartition(":")[2])
        kafka.request(port, CREATE_TOPICS, 4, struct.pack(">i", 1) + topic + struct.pack(">i?", 20_000, False))

    def produce(self, topic: str, value: str) -> None:
        line = ["kcat", "-P", "-b", self.env()["MILLRACE_TEST_KAFKA"], "-t", topic, "-X", "acks=all"]
        subprocess.run(line, input=value, text=True, timeout=60, check=True, stderr=subprocess.DEVNULL)

    def consume(self, topic: str) -> list[str]:
        line = ["kcat", "-C", "-b", self.env()["MILLRACE_TEST_KAFKA"], "-t", topic, "-o", "beginning", "-e", "-q"]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


class OneBroker(unittest.TestCase):
    cluster: Cluster
    first_output: str

    @classmethod
    def setUpClass(cls) -> None:
        install.command("kcat", package="kcat")
        cls.cluster = Cluster("--faults", "--catalog", "rest")
        cls.addClassCleanup(cls.cluster.remove)
        cls.first_output = cls.cluster.up()

    def setUp(self) -> None:
        self.cluster.up()

    def test_up_says_where_everything_is(self) -> None:
        said = [line.split() for line in self.first_output.splitlines()]
        kinds = {words[1] for words in said if words[0] == "listening"}
        self.assertLessEqual({"kafka", "redis", "s3", "postgres", "iceberg-rest"}, kinds)
        self.assertIn(["config", str(self.cluster.folder / "millrace.toml")], said)

    def test_secrets_are_read_by_their_owner_alone(self) -> None:
        files = list((self.cluster.folder / "secrets").iterdir())
        self.assertTrue(files)
        self.assertEqual({file.stat().st_mode & 0o777 for file in files}, {0o600})
        config = (self.cluster.folder / "millrace.toml").read_text()
        for file in files:
            self.assertNotIn(file.read_bytes().hex(), config.encode().hex())

    def test_up_again_starts_nothing_again(self) -> None:
        before = self.cluster.pids()
        self.assertEqual(self.cluster.up(), self.first_output)
        self.assertEqual(self.cluster.pids(), before)

    def test_kafka_keeps_port_and_records(self) -> None:
        self.cluster.create_topic("kept", replicas=1)
        self.cluster.produce("kept", "one")
        address = self.cluster.status()["kafka-1"]["address"]
        self.cluster.run("stop", "kafka-1")
        self.assertEqual(self.cluster.state("kafka-1"), "stopped")
        self.cluster.run("start", "kafka-1")
        self.assertEqual(self.cluster.status()["kafka-1"]["address"], address)
        self.assertEqual(self.cluster.consume("kept"), ["one"])

    def test_stores_keep_what_they_have(self) -> None:
        self.cluster.redis("set", "kept", "one")
        self.cluster.sql("CREATE TABLE kept (v text); INSERT INTO kept VALUES ('one')")
        self.assertEqual(self.cluster.s3("PUT", "/millrace/kept"), 200)
        before = self.cluster.env()
        self.cluster.run("stop", "redis", "postgres", "s3")
        self.cluster.run("start", "redis", "postgres", "s3")
        self.assertEqual(self.cluster.env(), before)
        self.assertEqual(self.cluster.redis("get", "kept"), "one")
        self.assertEqual(self.cluster.sql("SELECT v FROM kept"), "one")
        self.assertEqual(self.cluster.s3("GET", "/millrace/kept"), 200)

    def test_the_killed_are_dead_with_their_children_and_start_again(self) -> None:
        self.cluster.run("kill", "postgres")
        self.assertEqual(self.cluster.state("postgres"), "dead")
        self.assertFalse([pid for pid in self.cluster.processes() if command_line(pid).startswith("postgres")])
        self.cluster.run("start", "postgres")
        self.assertEqual(self.cluster.sql("SELECT 1"), "1")

    def test_one_killed_by_somebody_else_starts_again_with_up(self) -> None:
        for name in ("postgres", "redis"):
            pid = self.cluster.pids()[name]
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.cluster.state("postgres") == "dead")
        self.cluster.up()
        self.assertEqual(self.cluster.sql("SELECT 1"), "1")
        self.assertEqual(self.cluster.redis("ping"), "PONG")

    def test_the_frozen_answer_nothing_until_they_are_thawed(self) -> None:
        self.cluster.run("freeze", "redis")
        self.assertEqual(self.cluster.state("redis"), "frozen")
        with self.assertRaises(subprocess.TimeoutExpired):
            line = ["redis-cli", "--no-auth-warning", "-u", self.cluster.env()["MILLRACE_TEST_REDIS"], "ping"]
            subprocess.run(line, capture_output=True, timeout=1)
        self.assertIn("cluster thaw redis", self.cluster.run("up", fails=True))
        self.cluster.run("thaw", "redis")
        self.assertEqual(self.cluster.redis("ping"), "PONG")

    def test_the_frozen_can_be_stopped(self) -> None:
        self.cluster.run("freeze", "redis")
        self.cluster.run("stop", "redis")
        self.assertEqual(self.cluster.state("redis"), "stopped")

    def test_a_process_that_has_the_number_now_is_left_alone(self) -> None:
        self.cluster.run("stop", "redis")
        stranger = subprocess.Popen(["sleep", "600"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        boot = process.BOOT_ID.read_text().strip()
        (self.cluster.folder / "run" / "redis.pid").write_text(f"{stranger.pid} 12345 {boot}\n")
        self.assertEqual(self.cluster.state("redis"), "dead")
        self.cluster.run("stop", "redis")
        self.assertIsNone(stranger.poll())

    def test_a_record_from_before_the_machine_went_down_is_dead(self) -> None:
        self.cluster.run("stop", "redis")
        facts = process.read_facts(os.getpid())
        assert facts is not None
        (self.cluster.folder / "run" / "redis.pid").write_text(f"{os.getpid()} {facts.started} another-boot\n")
        self.assertEqual(self.cluster.state("redis"), "dead")
        self.cluster.run("start", "redis")
        self.assertEqual(self.cluster.redis("ping"), "PONG")

    def test_a_port_that_was_taken_is_told(self) -> None:
        self.cluster.run("stop", "redis")
        port = self.cluster.status()["redis"]["address"].rpartition(":")[2]
        thief = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port], cwd="/")
        self.addCleanup(thief.wait)
        self.addCleanup(thief.kill)
        wait_until(lambda: not ports.is_free(int(port)))
        self.assertIn("is taken by another process", self.cluster.run("start", "redis", fails=True))

    def test_brokers_cannot_change(self) -> None:
        self.assertIn("brokers = 1", self.cluster.run("up", "--brokers", "3", fails=True))

    def test_an_unknown_name_is_told_with_those_there_are(self) -> None:
        self.assertIn("kafka-1 redis s3", self.cluster.run("stop", "kafak", fails=True))

    def test_s3_fails_as_told_and_no_longer(self) -> None:
        self.addCleanup(self.cluster.run, "fault", "s3", "--clear")
        self.cluster.run("fault", "s3", "--errors", "1")
        self.assertEqual(self.cluster.s3("PUT", "/millrace/refused"), 500)
        self.cluster.run("fault", "s3", "--clear")
        self.assertEqual(self.cluster.s3("GET", "/millrace/refused"), 404)
        self.assertEqual(self.cluster.s3("PUT", "/millrace/refused"), 200)

    def test_an_answer_that_is_lost_was_carried_out(self) -> None:
        self.addCleanup(self.cluster.run, "fault", "s3", "--clear")
        self.cluster.run("fault", "s3", "--lost-answers", "1")
        with self.assertRaises(ConnectionError):
            self.cluster.s3("PUT", "/millrace/lost")
        self.cluster.run("fault", "s3", "--clear")
        self.assertEqual(self.cluster.s3("GET", "/millrace/lost"), 200)

    def test_a_reset_request_was_not_carried_out(self) -> None:
        self.addCleanup(self.cluster.run, "fault", "s3", "--clear")
        self.cluster.run("fault", "s3", "--resets", "1")
        with self.assertRaises(ConnectionError):
            self.cluster.s3("PUT", "/millrace/reset")
        self.cluster.run("fault", "s3", "--clear")
        self.assertEqual(self.cluster.s3("GET", "/millrace/reset"), 404)

    def test_s3_is_slow_when_told(self) -> None:
        self.addCleanup(self.cluster.run, "fault", "s3", "--clear")
        self.cluster.run("fault", "s3", "--delay-ms", "700")
        begin = time.monotonic()
        self.assertEqual(self.cluster.s3("GET", "/"), 200)
        self.assertGreater(time.monotonic() - begin, 0.7)


class ThreeBrokers(unittest.TestCase):
    def test_what_all_have_acknowledged_survives_a_broker(self) -> None:
        install.command("kcat", package="kcat")
        cluster = Cluster("--brokers", "3")
        self.addCleanup(cluster.remove)
        cluster.up()
        cluster.create_topic("kept", replicas=3)
        cluster.produce("kept", "before")
        cluster.run("kill", "kafka-2")
        cluster.produce("kept", "after")
        self.assertEqual(cluster.consume("kept"), ["before", "after"])
        cluster.run("start", "kafka-2")
        self.assertEqual(kafka.known_brokers(int(cluster.status()["kafka-2"]["address"].rpartition(":")[2])), {1, 2, 3})
        cluster.run("down")
        self.assertEqual(cluster.processes(), set())


class Ending(unittest.TestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.addCleanup(self.cluster.remove)

    def test_down_ends_the_running_the_frozen_and_orphans(self) -> None:
        self.cluster.up()
        postgres = self.cluster.pids()["postgres"]
        assert postgres is not None
        self.cluster.run("freeze", "kafka-1", "postgres")
        # Its frozen children cannot notice that they are alone.
        os.kill(postgres, signal.SIGKILL)
        self.assertGreater(len(self.cluster.processes()), 4)
        self.cluster.run("down")
        self.assertEqual(self.cluster.processes(), set())
        self.assertEqual(set(self.cluster.pids().values()), {None})

    def test_down_finds_what_a_killed_up_has_started(self) -> None:
        up = subprocess.Popen([HERE / "cluster", "up", "--services-only", "--dir", self.cluster.folder])
        wait_until(lambda: len(self.cluster.processes()) >= 3)
        up.kill()
        up.wait()
        self.cluster.run("down", "--remove")
        self.assertEqual(self.cluster.processes(), set())
        self.assertFalse(self.cluster.folder.exists())

    def test_all_ends_with_the_process_that_it_is_tied_to(self) -> None:
        cluster = Cluster()
        self.addCleanup(cluster.remove)
        with subprocess.Popen(["sleep", "600"]) as owner:
            try:
                cluster.run("up", "--services-only", "--tied-to", str(owner.pid))
                self.assertTrue(cluster.processes())
            finally:
                owner.kill()
        wait_until(lambda: not cluster.processes())

    def test_an_interrupted_up_ends_what_it_started(self) -> None:
        up = subprocess.Popen([HERE / "cluster", "up", "--services-only", "--dir", self.cluster.folder])
        wait_until(lambda: len(self.cluster.processes()) >= 3)
        up.send_signal(signal.SIGINT)
        self.assertNotEqual(up.wait(), 0)
        self.assertEqual([command_line(pid) for pid in self.cluster.processes()], [])

    def test_a_folder_with_something_else_is_not_touched(self) -> None:
        (self.cluster.folder / "letter").write_text("mine")
        self.assertIn("holds something else", self.cluster.run("up", fails=True))
        self.cluster.run("down", "--remove", fails=True)
        self.assertEqual((self.cluster.folder / "letter").read_text(), "mine")


class Runner(unittest.TestCase):
    def test_the_exit_code_is_the_commands_and_nothing_stays(self) -> None:
        script = (
            'test -n "$MILLRACE_TEST_KAFKA" -a -n "$MILLRACE_TEST_ICEBERG_REST" && echo "$MILLRACE_CLUSTER_DIR"; exit 7'
        )
        result = subprocess.run([HERE / "test", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, 7)
        self.assertTrue(result.stdout.strip())
        self.assertFalse(Path(result.stdout.strip()).exists())


class Kafka(unittest.TestCase):
    def test_no_cluster_id_begins_with_a_dash(self) -> None:
        homes = [SimpleNamespace(root=Path(f"/cluster/{number}")) for number in range(1000)]
        ids = {kafka.cluster_id(home) for home in homes}
        self.assertEqual(len(ids), 1000)
        self.assertEqual([one for one in ids if one.startswith("-") or len(one) != 22], [])


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to pass")
        time.sleep(0.02)


if __name__ == "__main__":
    unittest.main(verbosity=2)

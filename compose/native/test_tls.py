#!/usr/bin/env python3
"""A cluster whose services are encrypted, with Millrace's processes: mail goes through, and whoever is not trusted or
does not know a password is refused, and told which key of the configuration that was.

MILLRACE_BINARY names the binary; without it, it is what was built in this repository.
"""

import json
import os
import socket
import subprocess
import sys
import time
import unittest
import unittest.mock
from pathlib import Path

import install
from ports import HOST
from services import s3
from test_cluster import HERE, Cluster, wait_until
from tls import Certificates

sys.path.append(str(HERE.parent.parent / "tests" / "cluster"))
from cluster import ENVIRONMENT, PASSWORD, Account
from jmap import Jmap, Unavailable
from smtp import Client, Outcome

MESSAGE = b"From: sender@example.org\r\nTo: %s\r\nSubject: over TLS\r\n\r\nAll the way.\r\n"
SERVICES = ("kafka", "redis", "s3", "catalog")


def listed(mailbox: Jmap) -> list[str]:
    """The emails; none while the API has yet to hear of an account that another process has made."""
    try:
        return mailbox.query()
    except Unavailable:
        # Whoever tries too often is taken for one who guesses.
        time.sleep(2)
        return []


class Encrypted(unittest.TestCase):
    cluster: Cluster
    state: dict[str, dict[str, str]]

    @classmethod
    def setUpClass(cls) -> None:
        install.command("kcat", package="kcat")
        environment = unittest.mock.patch.dict(os.environ, ENVIRONMENT)
        environment.start()
        cls.addClassCleanup(environment.stop)
        binary = ["--millrace", os.environ["MILLRACE_BINARY"]] if "MILLRACE_BINARY" in os.environ else []
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.remove)
        cls.cluster.run("up", "--tls", "--processes", "1", *binary)
        cls.state = json.loads((cls.cluster.folder / "state.json").read_text())
        cls.millrace("domain", "add", "millrace.test")

    @classmethod
    def millrace(cls, *arguments: str, told: str = "", exit_code: int = 0, **variables: str) -> str:
        line = [cls.state["options"]["binary"], "--config", str(cls.cluster.folder / "millrace.toml"), *arguments]
        environment = {**os.environ, **variables}
        result = subprocess.run(line, input=told, env=environment, capture_output=True, text=True, timeout=180)
        if result.returncode != exit_code:
            raise AssertionError(f"{arguments} gave {result.returncode}:\n{result.stdout}{result.stderr}")
        return result.stdout

    def check(self, exit_code: int = 0, **variables: str) -> dict[str, str]:
        """What `config check` says of each part."""
        lines = self.millrace("config", "check", exit_code=exit_code, **variables).splitlines()
        return {name: said.strip() for name, _, said in (line.partition(" ") for line in lines)}

    def port(self, name: str) -> int:
        return int(self.state["ports"][name])

    def deliver(self, name: str) -> None:
        """From SMTP to the account's list."""
        address = f"{name}@millrace.test"
        added = self.millrace("account", "add", address, "--password-stdin", told=PASSWORD + "\n")
        mailbox = Jmap(self.port("api-1-http"), Account(address, added.split()[-1]))
        client = Client(self.port("reception-1-smtp"))
        outcome, reply = client.send(address, MESSAGE % address.encode())
        client.close()
        self.assertEqual(outcome, Outcome.ACCEPTED, reply)
        wait_until(lambda: listed(mailbox))
        emails = mailbox.emails(mailbox.query(), ["subject", "blobId"])
        self.assertEqual([email["subject"] for email in emails], ["over TLS"])
        self.assertIn(b"All the way.", mailbox.download(emails[0]["blobId"]))

    def test_mail_comes_in_and_is_listed(self) -> None:
        self.deliver("alice")

    def test_it_is_so_after_the_services_were_started_again(self) -> None:
        services = ("kafka-1", "redis", "s3", "postgres")
        self.cluster.run("stop", *services)
        self.cluster.run("start", *services)
        self.cluster.run("up")
        self.deliver("bob")

    def test_every_service_can_be_used(self) -> None:
        found = self.check()
        self.assertEqual({found[name].split()[0] for name in SERVICES}, {"ok"}, found)

    def test_another_authority_is_not_trusted(self) -> None:
        other = Certificates(self.cluster.folder / "other-tls")
        other.make()
        for name in SERVICES:
            with self.subTest(name):
                self.refused(name, f"{name}.ca_file", {f"MILLRACE_{name.upper()}_CA_FILE": str(other.authority)})

    def test_another_password_is_refused(self) -> None:
        wrong = self.cluster.folder / "wrong"
        wrong.write_text("wrong")
        keys = {"kafka": "password", "redis": "password", "s3": "secret_key", "catalog": "password"}
        for name, key in keys.items():
            with self.subTest(name):
                self.refused(name, f"{name}.{key}", {f"MILLRACE_{name}_{key}_FILE".upper(): str(wrong)})

    def test_what_is_configured_as_plain_is_refused(self) -> None:
        self.refused("kafka", "kafka.tls", {"MILLRACE_KAFKA_TLS": "false"})

    def refused(self, name: str, key: str, variables: dict[str, str]) -> None:
        """`config check` fails at this service alone, and names the key."""
        found = self.check(exit_code=1, **variables)
        self.assertRegex(found[name], "^FAILS ")
        self.assertIn(key, found[name].rpartition("; check ")[2])
        # What the catalog names is in S3.
        others = [other for other in SERVICES if other != name and (name, other) != ("s3", "catalog")]
        self.assertEqual({found[other].split()[0] for other in others}, {"ok"}, found)

    def test_kafka_serves_nobody_who_is_plain_or_does_not_log_in(self) -> None:
        trusting = ("security.protocol=ssl", f"ssl.ca.location={self.cluster.env()['MILLRACE_TEST_CA_FILE']}")
        self.assertFalse(self.kafka_serves("kafka-1"))
        self.assertFalse(self.kafka_serves("kafka-1", *trusting))
        # That it is served where brokers are, on this machine alone, shows that it asks rightly.
        self.assertTrue(self.kafka_serves("kafka-1-broker"))

    def kafka_serves(self, listener: str, *options: str) -> bool:
        given = [part for option in options for part in ("-X", option)]
        line = ["kcat", "-L", "-m", "8", "-b", f"{HOST}:{self.port(listener)}", *given]
        result = subprocess.run(line, capture_output=True, text=True, timeout=60)
        return result.returncode == 0 and 'topic "mail.reception"' in result.stdout

    def test_redis_does_not_speak_plainly(self) -> None:
        with socket.create_connection((HOST, self.port("redis")), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            try:
                answer = connection.recv(100)
            except ConnectionError:
                answer = b""
        self.assertNotIn(answer[:1], (b"+", b"-"))

    def test_s3_does_not_speak_plainly(self) -> None:
        secret = self.cluster.env()["MILLRACE_TEST_S3_SECRET"]
        try:
            status = s3.request(self.port("s3"), secret, "GET", "/")
        except OSError:
            return
        self.assertEqual(status, 400)

    def test_postgres_lets_nobody_in_plainly(self) -> None:
        env = self.cluster.env()
        url = env["MILLRACE_TEST_POSTGRES"]
        line = ["psql", url.replace("sslmode=verify-full", "sslmode=disable"), "-qtAXc", "SELECT 1"]
        plain = subprocess.run(line, capture_output=True, text=True, timeout=20)
        self.assertIn("no encryption", plain.stderr)
        trusting = {**os.environ, "PGSSLROOTCERT": env["MILLRACE_TEST_CA_FILE"]}
        encrypted = subprocess.run(["psql", url, *line[2:]], env=trusting, capture_output=True, text=True, timeout=20)
        self.assertEqual(encrypted.stdout.strip(), "1", encrypted.stderr)

    def test_keys_are_read_by_their_owner_alone(self) -> None:
        folders = [self.cluster.folder / "tls", self.cluster.folder / "data" / "postgres"]
        secret = [file for folder in folders for file in folder.rglob("*") if holds_a_key(file)]
        self.assertGreaterEqual({file.name for file in secret}, {"ca.key", "server.key"})
        self.assertEqual({file.stat().st_mode & 0o777 for file in secret}, {0o600})


class Refused(unittest.TestCase):
    def test_what_does_not_go_with_it_is_told_before_anything_is_made(self) -> None:
        for options in (["--faults"], ["--catalog", "rest"]):
            cluster = Cluster()
            self.addCleanup(cluster.remove)
            self.assertIn("does not go with --tls", cluster.run("up", "--tls", *options, fails=True))
            self.assertEqual(list(cluster.folder.iterdir()), [])


def holds_a_key(file: Path) -> bool:
    return file.is_file() and b"PRIVATE KEY" in file.read_bytes()


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Kafka in KRaft mode: each process is broker and controller."""

import base64
import hashlib
import json
import socket
import struct
import subprocess
from pathlib import Path
from typing import BinaryIO

import install
import tls
from errors import Failure
from ports import HOST
from services.service import Service
from state import Home, write_whole

# Topics are made by those who use them, with partitions and replication from one place: a topic that came into being
# by a mistyped name would hide the mistake.
CONFIGURATION = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
{listeners}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=8
offsets.retention.minutes=525600
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
"""

# Everybody speaks to the same listener.
PLAIN = """\
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"""

# Clients log in over TLS. Brokers speak plainly among themselves, which they do on this machine alone.
ENCRYPTED = """\
listeners=CLIENT://{host}:{port},BROKER://{host}:{broker_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port},BROKER://{host}:{broker_port}
listener.security.protocol.map=CLIENT:SASL_SSL,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
listener.name.client.ssl.keystore.type=PEM
listener.name.client.ssl.keystore.location={keystore}
listener.name.client.sasl.enabled.mechanisms={mechanism}
listener.name.client.{mechanism_name}.sasl.jaas.config={login} required;"""

USER = "millrace"
MECHANISM = "SCRAM-SHA-512"
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"

METADATA = 3


def brokers(home: Home) -> list[str]:
    return [f"{HOST}:{home.port(name)}" for name in names(home)]


def cluster_id(home: Home) -> str:
    """16 bytes in URL-safe base64, the same for all brokers of a cluster.

    As Kafka's own it never begins with a dash, which its tools would take for an option.
    """
    digest = hashlib.sha256(str(home.root).encode()).digest()
    text = base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
    return f"A{text[1:]}" if text.startswith("-") else text


def names(home: Home) -> list[str]:
    return [f"kafka-{node}" for node in range(1, home.options.brokers + 1)]


class Kafka(Service):
    # A broker hands its partitions over; the last ones of a quorum have nobody left to ask and would wait on.
    stop_seconds = 20.0

    def __init__(self, home: Home, node: int) -> None:
        super().__init__(home, f"kafka-{node}")
        self.node = node

    def ports(self) -> list[int]:
        return sorted({self.port, self.controller_port, self.broker_port})

    @property
    def controller_port(self) -> int:
        return self.home.port(self.name + "-controller")

    @property
    def broker_port(self) -> int:
        """Where the other brokers come in, who do not log in."""
        return self.home.port(self.name + "-broker") if self.home.options.tls else self.port

    def install(self) -> None:
        install.maven("kafka")
        install.java(17)

    def program(self) -> Path:
        return install.java(17)

    def java(self, *arguments: str) -> list[str]:
        logging = Path(__file__).with_name("kafka-log4j2.properties")
        jars = install.maven("kafka") / "*"
        return [str(self.program()), *arguments, f"-Dlog4j2.configurationFile={logging}", "-cp", str(jars)]

    @property
    def configuration(self) -> Path:
        return self.home.conf(self.name) / "server.properties"

    @property
    def log_dir(self) -> Path:
        return self.data / "log"

    def prepare(self) -> None:
        write_whole(self.configuration, self.properties())
        if not (self.log_dir / "meta.properties").exists():
            self.format()

    def properties(self) -> str:
        replicas = min(3, self.home.options.brokers)
        controllers = [f"{HOST}:{self.home.port(name + '-controller')}" for name in names(self.home)]
        voters = [f"{node}@{address}" for node, address in enumerate(controllers, 1)]
        return CONFIGURATION.format(
            node=self.node,
            voters=",".join(voters),
            listeners=self.listeners(),
            data=self.log_dir,
            replicas=replicas,
            in_sync=max(1, replicas - 1),
        )

    def listeners(self) -> str:
        return (ENCRYPTED if self.home.options.tls else PLAIN).format(
            host=HOST,
            port=self.port,
            broker_port=self.broker_port,
            controller_port=self.controller_port,
            keystore=tls.certificates(self.home).key_and_certificate,
            mechanism=MECHANISM,
            mechanism_name=MECHANISM.lower(),
            login=LOGIN,
        )

    def format(self) -> None:
        arguments = ["format", "-t", cluster_id(self.home), "-c", str(self.configuration)]
        if self.home.options.tls:
            password = self.home.secret("kafka.password")
            arguments += ["--add-scram", f"{MECHANISM}=[name={USER},password={password}]"]
        # In a file, since everybody on the machine sees what stands on a command line.
        told = self.home.conf(self.name) / "format.arguments"
        write_whole(told, " ".join(["kafka.tools.StorageTool", *map(quoted, arguments)]), mode=0o600)
        try:
            result = subprocess.run([*self.java("-Xmx128m"), f"@{told}"], capture_output=True, text=True)
        finally:
            told.unlink()
        if result.returncode != 0:
            raise Failure(f"Kafka's folder {self.log_dir} cannot be formatted: {result.stdout}{result.stderr}")

    def command(self) -> list[str]:
        memory = ["-Xms256m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"]
        return [*self.java(*memory), "kafka.Kafka", str(self.configuration)]

    def probe(self) -> None:
        """A broker is ready when the controllers have let it in, which is when it names itself."""
        if self.node not in known_brokers(self.broker_port):
            raise ConnectionError("the controllers have not let the broker in yet")
        tls.connect(self.home, self.port, seconds=5).close()

    def listens(self) -> list[tuple[str, str]]:
        return [("kafka", self.address)]


def quoted(argument: str) -> str:
    """As Java reads it from a file of arguments."""
    return json.dumps(argument, ensure_ascii=False)


def known_brokers(port: int) -> set[int]:
    """The node ids of the brokers that this one tells clients of."""
    # Version 4: no topics, none to be made.
    answer = Answer(request(port, METADATA, 4, struct.pack(">i?", 0, False)))
    answer.take(">i")
    found = set()
    for _ in range(answer.take(">i")):
        found.add(answer.take(">i"))
        answer.string()
        answer.take(">i")
        answer.string()
    return found


def request(port: int, key: int, version: int, body: bytes) -> bytes:
    """One request of Kafka's protocol; gives the answer's body."""
    client = b"cluster"
    message = struct.pack(">hhih", key, version, 1, len(client)) + client + body
    with socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        stream = connection.makefile("rb")
        (size,) = struct.unpack(">i", exactly(stream, 4))
        return exactly(stream, size)[4:]


def exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise ConnectionError("the broker closed the connection")
    return found


class Answer:
    """Reads a body of Kafka's protocol from its start."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.position = 0

    def take(self, form: str) -> int:
        value: int = struct.unpack_from(form, self.body, self.position)[0]
        self.position += struct.calcsize(form)
        return value

    def string(self) -> str:
        size = max(0, self.take(">h"))
        self.position += size
        return self.body[self.position - size : self.position].decode()

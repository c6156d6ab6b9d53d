"""Millrace's own processes: each role by itself, as many of each as wanted."""

import http.client
import json
import os
import re
import secrets
from pathlib import Path

import tls
from ports import HOST
from services import kafka, s3
from services.postgres import DATABASE, USER
from services.service import Service
from state import START_MARK, Home, write_whole

ROLES = ("reception", "pipelines", "lander", "api")

LISTENING = re.compile(r"^listening (\S+) (\S+)$", re.MULTILINE)


class Millrace(Service):
    # It lands what it has taken.
    stop_seconds = 30.0
    # Landers and pipelines wait for their group to give them partitions.
    ready_seconds = 120.0

    def __init__(self, home: Home, role: str, number: int) -> None:
        super().__init__(home, f"{role}-{number}")
        self.role = role

    def ports(self) -> list[int]:
        return [self.http_port, self.smtp_port] if self.role == "reception" else [self.http_port]

    def program(self) -> Path:
        return Path(self.home.options.binary)

    def command(self) -> list[str]:
        return [str(self.program()), "run", self.role, "--config", str(self.home.config_file)]

    def environment(self) -> dict[str, str]:
        own = {
            "MILLRACE_DATA_DIR": str(self.data),
            "MILLRACE_NODE_NAME": self.name,
            "MILLRACE_HTTP_LISTEN": f"{HOST}:{self.http_port}",
        }
        if self.role == "reception":
            own["MILLRACE_SMTP_LISTEN"] = f"{HOST}:{self.smtp_port}"
        return {**os.environ, **own}

    @property
    def http_port(self) -> int:
        return self.home.port(self.name + "-http")

    @property
    def smtp_port(self) -> int:
        return self.home.port(self.name + "-smtp")

    def probe(self) -> None:
        printed = self.printed()
        # Every role tells of its health and its metrics over HTTP.
        for kind in ("http", "smtp") if self.role == "reception" else ("http",):
            if kind not in printed:
                raise ConnectionError(f"it has not printed `listening {kind}` yet")
        self.ask_health()

    def printed(self) -> dict[str, str]:
        """The listeners that it printed since it was started last."""
        log = self.home.log(self.name)
        said = log.read_text(errors="replace").rpartition(START_MARK)[2] if log.exists() else ""
        return dict(LISTENING.findall(said))

    def ask_health(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.http_port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            if response.status != 200:
                raise ConnectionError(f"/healthz answered {response.status}: {response.read(500).decode()}")
        finally:
            connection.close()

    def listens(self) -> list[tuple[str, str]]:
        http = f"{HOST}:{self.http_port}"
        if self.role == "reception":
            return [("smtp", f"{HOST}:{self.smtp_port}"), ("metrics", http)]
        return [("http" if self.role == "api" else "metrics", http)]


def write_config(home: Home, addresses: dict[str, str]) -> None:
    """The configuration that every process and every command takes; secrets are in files that it names."""
    s = "s" if home.options.tls else ""
    trusted = trust(home)
    tables: dict[str, dict[str, object]] = {
        "": {"storage": "cluster", "data_dir": str(home.data("command"))},
        "http": {"upload_key_file": str(upload_key(home))},
        "log": {"partitions": home.options.partitions},
        "kafka": {
            "brokers": addresses["kafka"],
            "replication_factor": min(3, home.options.brokers),
            **(login(home) if home.options.tls else {}),
        },
        "redis": {
            "url": f"redis{s}://{addresses['redis']}",
            "password_file": str(home.secret_file("redis.password")),
            **trusted,
        },
        "s3": {
            "endpoint": f"http{s}://{addresses['s3']}",
            "region": s3.REGION,
            "bucket": s3.BUCKET,
            "access_key": s3.ACCESS_KEY,
            "secret_key_file": str(home.secret_file("s3.secret")),
            **trusted,
        },
        "catalog": {**catalog(home, addresses), **trusted},
    }
    parts = ["# Written by `cluster up`, and written anew by the next one.\n"]
    parts += [toml_table(name, keys) for name, keys in tables.items()]
    write_whole(home.config_file, "\n".join(parts))


def trust(home: Home) -> dict[str, object]:
    return {"ca_file": str(tls.certificates(home).authority)} if home.options.tls else {}


def login(home: Home) -> dict[str, object]:
    password_file = str(home.secret_file("kafka.password"))
    sasl = {"sasl_mechanism": kafka.MECHANISM, "username": kafka.USER, "password_file": password_file}
    return {"tls": True, **trust(home), **sasl}


def catalog(home: Home, addresses: dict[str, str]) -> dict[str, object]:
    if home.options.catalog == "rest":
        return {"url": f"http://{addresses['iceberg-rest']}"}
    password_file = str(home.secret_file("postgres.password"))
    return {"url": f"postgresql://{USER}@{addresses['postgres']}/{DATABASE}", "password_file": password_file}


def upload_key(home: Home) -> Path:
    """32 bytes, the same for all that serve the API."""
    return home.make_secret("upload.key", secrets.token_bytes(32))


def toml_table(name: str, keys: dict[str, object]) -> str:
    # A JSON string or number is one of TOML too.
    lines = [f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"

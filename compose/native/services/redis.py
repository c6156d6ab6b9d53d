"""Redis: hot store and first-seen."""

import socket
from pathlib import Path

import install
from ports import HOST
from services.service import Service
from state import write_whole

# What has not landed yet must never be evicted, so a full Redis refuses writes instead.
CONFIGURATION = """\
bind {host}
port {port}
dir "{data}"
requirepass {password}
appendonly yes
maxmemory 1gb
maxmemory-policy noeviction
save ""
"""


class Redis(Service):
    def install(self) -> None:
        install.command("redis-server", package="redis-server")

    def program(self) -> Path:
        return install.command("redis-server", package="redis-server")

    @property
    def configuration(self) -> Path:
        return self.home.conf(self.name) / "redis.conf"

    @property
    def password(self) -> str:
        return self.home.secret("redis.password")

    def prepare(self) -> None:
        text = CONFIGURATION.format(host=HOST, port=self.port, data=self.data, password=self.password)
        write_whole(self.configuration, text, mode=0o600)

    def command(self) -> list[str]:
        return [str(self.program()), str(self.configuration)]

    def probe(self) -> None:
        with socket.create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = connection.makefile("rb")
            lines = [answer.readline().strip() for _ in range(2)]
        if lines != [b"+OK", b"+PONG"]:
            raise ConnectionError(f"Redis answered {lines}")

    def listens(self) -> list[tuple[str, str]]:
        return [("redis", self.address)]

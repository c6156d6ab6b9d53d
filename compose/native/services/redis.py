"""Redis: hot store and first-seen."""

from pathlib import Path

import install
import tls
from ports import HOST
from services.service import Service
from state import write_whole

# What has not landed yet must never be evicted, so a full Redis refuses writes instead.
CONFIGURATION = """\
bind {host}
{listener}
dir "{data}"
requirepass {password}
appendonly yes
maxmemory 1gb
maxmemory-policy noeviction
save ""
"""


# A client shows a password and no certificate of its own.
TLS = """\
port 0
tls-port {port}
tls-cert-file "{certificate}"
tls-key-file "{key}"
tls-ca-cert-file "{authority}"
tls-auth-clients no"""


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
        text = CONFIGURATION.format(host=HOST, listener=self.listener(), data=self.data, password=self.password)
        write_whole(self.configuration, text, mode=0o600)

    def listener(self) -> str:
        if not self.home.options.tls:
            return f"port {self.port}"
        ours = tls.certificates(self.home)
        return TLS.format(port=self.port, certificate=ours.certificate, key=ours.key, authority=ours.authority)

    def command(self) -> list[str]:
        return [str(self.program()), str(self.configuration)]

    def probe(self) -> None:
        with tls.connect(self.home, self.port, seconds=2) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = connection.makefile("rb")
            lines = [answer.readline().strip() for _ in range(2)]
        if lines != [b"+OK", b"+PONG"]:
            raise ConnectionError(f"Redis answered {lines}")

    def listens(self) -> list[tuple[str, str]]:
        return [("redis", self.address)]

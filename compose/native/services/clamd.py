"""clamd: signatures of malware."""

import os
import socket
from pathlib import Path

import install
from ports import HOST
from services.service import Service
from state import write_whole

CONFIGURATION = """\
DatabaseDirectory {database}
TCPAddr {host}
TCPSocket {port}
Foreground yes
{user}
"""

# Where freshclam puts what it downloads.
DOWNLOADED = Path("/var/lib/clamav")
SYSTEM_USER = "clamav"

# Without them there is still a database: the industry's test file, so that finding something can be tried.
TEST_SIGNATURE = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n"


class Clamd(Service):
    ready_seconds = 120.0

    def install(self) -> None:
        self.program()

    def program(self) -> Path:
        return install.command("clamd", package="clamav-daemon")

    @property
    def configuration(self) -> Path:
        return self.home.conf(self.name) / "clamd.conf"

    def prepare(self) -> None:
        database = DOWNLOADED
        if not any(DOWNLOADED.glob("*.c[vl]d")):
            database = self.data / "database"
            database.mkdir(exist_ok=True)
            write_whole(database / "test.hdb", TEST_SIGNATURE)
        user = f"User {SYSTEM_USER}" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(database=database, host=HOST, port=self.port, user=user)
        write_whole(self.configuration, text)

    def command(self) -> list[str]:
        return [str(self.program()), "--config-file", str(self.configuration)]

    def probe(self) -> None:
        with socket.create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(b"zPING\0")
            answer = connection.recv(100)
        if answer != b"PONG\0":
            raise ConnectionError(f"clamd answered {answer!r}")

    def listens(self) -> list[tuple[str, str]]:
        return [("clamd", self.address)]

    def note(self) -> str:
        return "" if any(DOWNLOADED.glob("*.c[vl]d")) else "knows the EICAR test file alone"

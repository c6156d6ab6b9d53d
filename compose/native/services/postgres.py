"""PostgreSQL: the Iceberg catalog."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import install
import process
import tls
from errors import Failure
from ports import HOST
from services.service import Service
from state import Home, write_whole

USER = "millrace"
DATABASE = "millrace"
# PostgreSQL refuses to run as root; its package brings this user.
SYSTEM_USER = "postgres"


# Instead of what initdb writes, which lets plain connections in as well.
ENCRYPTED_ALONE = f"hostssl all all {HOST}/32 scram-sha-256\n"


class Postgres(Service):
    # Ends sessions instead of waiting for them.
    stop_signal = signal.SIGINT

    def __init__(self, home: Home, databases: list[str]) -> None:
        super().__init__(home, "postgres")
        self.databases = databases

    def install(self) -> None:
        if bin_folder() is None:
            install.apt("postgresql")

    def program(self) -> Path:
        return self.tool("postgres")

    def tool(self, name: str) -> Path:
        self.install()
        folder = bin_folder()
        if folder is None:
            raise Failure("PostgreSQL is installed in a place that is not known: put its bin folder into PATH")
        return folder / name

    def as_user(self, *command: str) -> list[str]:
        """setpriv becomes the command, so that the process id stays."""
        if os.geteuid() != 0:
            return list(command)
        return ["setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--init-groups", *command]

    @property
    def cluster(self) -> Path:
        return self.data / "cluster"

    @property
    def password_file(self) -> Path:
        return self.home.secret_file("postgres.password")

    def prepare(self) -> None:
        self.prepare_cluster()
        if self.home.options.tls:
            self.encrypt()

    def encrypt(self) -> None:
        """Copies of certificate and key, since PostgreSQL runs as another user and takes no key that others read."""
        ours = tls.certificates(self.home)
        for name, content in (
            ("server.crt", ours.certificate.read_bytes()),
            ("server.key", ours.key.read_bytes()),
            ("pg_hba.conf", ENCRYPTED_ALONE),
        ):
            write_whole(self.cluster / name, content, mode=0o600)
            self.give_away(self.cluster / name)

    def prepare_cluster(self) -> None:
        if (self.cluster / "PG_VERSION").exists():
            # Nothing runs in this folder any more. PostgreSQL would still believe so where nobody collects processes
            # that were killed, as in a container without an init.
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)
            return
        shutil.rmtree(self.cluster, ignore_errors=True)
        self.cluster.mkdir(mode=0o700)
        self.give_away(self.cluster)
        # A copy for initdb, which runs as another user and cannot read ours.
        password = self.data / "password"
        write_whole(password, self.home.secret("postgres.password"), mode=0o600)
        self.give_away(password)
        try:
            self.initdb(password)
        finally:
            password.unlink()

    def initdb(self, password: Path) -> None:
        command = [str(self.tool("initdb")), "-D", str(self.cluster), "--username", USER, f"--pwfile={password}"]
        user = self.as_user(*command, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8")
        # It has children of its own, which an interruption would leave behind. When we are killed it ends with us, and
        # its children are found by the folder that they run in.
        with process.undisturbed():
            run("setpriv", "--pdeathsig", "KILL", *user, folder=self.data)

    def give_away(self, path: Path) -> None:
        """To the user that PostgreSQL runs as."""
        if os.geteuid() != 0:
            return
        shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
        if subprocess.run(self.as_user("test", "-w", str(path)), stderr=subprocess.DEVNULL, cwd="/").returncode != 0:
            raise Failure(
                f"the user {SYSTEM_USER}, as whom PostgreSQL runs, cannot enter {path.parent}: choose a folder with "
                "--dir whose parents others may pass through, such as one in /var/tmp"
            )

    def command(self) -> list[str]:
        # Over TCP alone: a socket's path may have 107 characters, which a folder in a folder soon exceeds.
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "ssl": "on" if self.home.options.tls else "off",
        }
        given = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return self.as_user(str(self.program()), "-D", str(self.cluster), *given)

    def probe(self) -> None:
        self.ask("postgres", "SELECT 1")

    def finish(self) -> None:
        for database in self.databases:
            if not self.ask("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
                self.ask("postgres", f"CREATE DATABASE {database}")

    def ask(self, database: str, sql: str) -> str:
        psql = [str(self.tool("psql")), "-h", HOST, "-p", str(self.port), "-U", USER, "-d", database]
        environment = {"PGPASSWORD": self.home.secret("postgres.password"), "PGCONNECT_TIMEOUT": "2"}
        if self.home.options.tls:
            environment |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(tls.certificates(self.home).authority)}
        return run(*psql, "-qtAXc", sql, environment={**os.environ, **environment})

    def listens(self) -> list[tuple[str, str]]:
        return [("postgres", self.address)]


def run(*command: str, environment: dict[str, str] | None = None, folder: Path = Path("/")) -> str:
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, encoding="utf-8")
    if result.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed: {result.stderr.strip()}")
    return result.stdout.strip()


def bin_folder() -> Path | None:
    """The newest version of the distribution, or whatever PATH has."""
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "postgres").exists()]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name))
    found = install.look_up("postgres")
    return found.parent if found else None

"""rspamd: a score for spam."""

import http.client
import os
import shutil
from pathlib import Path

import install
from ports import HOST
from services.service import Service
from state import make_folder, write_whole

# The distribution's rules, with one scanning process of ours in place of its workers.
CONFIGURATION = """\
.include "$CONFDIR/common.conf"

options {{
  .include "$CONFDIR/options.inc"
  pidfile = "";
  tempdir = "{data}";
}}
logging {{
  type = "console";
  level = "notice";
}}
worker "normal" {{
  bind_socket = "{host}:{port}";
  count = 1;
}}
"""

SYSTEM_USER = "_rspamd"


class Rspamd(Service):
    def install(self) -> None:
        self.program()

    def program(self) -> Path:
        return install.command("rspamd", package="rspamd")

    @property
    def configuration(self) -> Path:
        return self.home.conf(self.name) / "rspamd.conf"

    def prepare(self) -> None:
        write_whole(self.configuration, CONFIGURATION.format(data=self.data, host=HOST, port=self.port))
        if os.geteuid() == 0:
            shutil.chown(self.data, SYSTEM_USER, SYSTEM_USER)

    def command(self) -> list[str]:
        folders = {"DBDIR": self.data, "RUNDIR": self.data, "LOGDIR": self.data, "LOCAL_CONFDIR": self.local}
        named = [part for name, path in folders.items() for part in ("--var", f"{name}={path}")]
        user = ["-u", SYSTEM_USER, "-g", SYSTEM_USER] if os.geteuid() == 0 else []
        return [str(self.program()), "-f", *user, "-c", str(self.configuration), *named]

    @property
    def local(self) -> Path:
        """Instead of /etc/rspamd/local.d, which is of another instance."""
        return make_folder(self.home.conf(self.name) / "local")

    def probe(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/ping")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200:
            raise ConnectionError(f"rspamd answered {status}")

    def listens(self) -> list[tuple[str, str]]:
        return [("rspamd", self.address)]

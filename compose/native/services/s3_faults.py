"""The proxy in front of S3 that fails as `cluster fault` says."""

import sys
from pathlib import Path

import fault
from services import s3
from services.service import Service
from state import Home


class S3Faults(Service):
    def __init__(self, home: Home, behind: s3.S3) -> None:
        super().__init__(home, "s3-faults")
        self.behind = behind

    def program(self) -> Path:
        return Path(sys.executable)

    @property
    def control(self) -> Path:
        return self.home.conf(self.name) / "faults.json"

    def command(self) -> list[str]:
        proxy = Path(__file__).resolve().parent.parent / "faults"
        front = [str(self.program()), str(proxy), "--listen", self.address]
        return [*front, "--to", self.behind.address, "--control", str(self.control)]

    def probe(self) -> None:
        if str(fault.read(self.control)) != "none":
            # It does as it was told: that cannot be told from not being ready.
            return
        status = s3.request(self.port, s3.secret(self), "GET", "/")
        if status != 200:
            raise ConnectionError(f"S3 answered {status} through the proxy")

    def listens(self) -> list[tuple[str, str]]:
        return [("s3", self.address)]

    def note(self) -> str:
        return f"faults: {fault.read(self.control)}"

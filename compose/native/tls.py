"""A cluster's own authority, the certificate that its services show, and connections that trust it alone."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import install
from errors import Failure
from ports import HOST
from state import Home, write_whole

DAYS = "3650"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Certificates:
    """In a folder: `ca.pem` is what clients trust, `server.pem` and `server.key` are what every service shows.

    The keys are read by their owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        # Kafka takes both in one file.
        self.key_and_certificate = folder / "server-with-key.pem"

    def make(self) -> None:
        """Once: a folder that is there is whole."""
        if self.folder.exists():
            return
        new = Certificates(self.folder.with_name(self.folder.name + ".new"))
        shutil.rmtree(new.folder, ignore_errors=True)
        new.folder.mkdir()
        new.sign()
        new.folder.rename(self.folder)

    def sign(self) -> None:
        extensions = self.folder / "extensions"
        write_whole(extensions, f"subjectAltName=IP:{HOST},DNS:localhost\nextendedKeyUsage=serverAuth\n")
        request, authority_key = self.folder / "server.csr", self.folder / "ca.key"
        own = ("-subj", "/CN=Millrace test authority", "-keyout", str(authority_key), "-out", str(self.authority))
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", *NEW_KEY, "-days", DAYS, *usage, *own)
        openssl("req", *NEW_KEY, "-subj", f"/CN={HOST}", "-keyout", str(self.key), "-out", str(request))
        signer = ("-CA", str(self.authority), "-CAkey", str(authority_key), "-CAcreateserial", "-days", DAYS)
        files = ("-in", str(request), "-extfile", str(extensions), "-out", str(self.certificate))
        openssl("x509", "-req", *signer, *files)
        for key in (authority_key, self.key):
            key.chmod(0o600)
        write_whole(self.key_and_certificate, self.key.read_bytes() + self.certificate.read_bytes(), mode=0o600)

    def context(self) -> ssl.SSLContext:
        """Trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority))


def certificates(home: Home) -> Certificates:
    return Certificates(home.root / "tls")


def context(home: Home) -> ssl.SSLContext | None:
    """What clients of a cluster connect with; none where nothing is encrypted."""
    return certificates(home).context() if home.options.tls else None


def connect(home: Home, port: int, seconds: float) -> socket.socket:
    """A connection to a service, encrypted where the cluster is."""
    plain = socket.create_connection((HOST, port), timeout=seconds)
    trusted = context(home)
    if trusted is None:
        return plain
    try:
        return trusted.wrap_socket(plain, server_hostname=HOST)
    except BaseException:
        plain.close()
        raise


def openssl(*arguments: str) -> None:
    program = install.command("openssl", package="openssl")
    result = subprocess.run([str(program), *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        raise Failure(f"`openssl {arguments[0]}` failed: {result.stderr.strip()}")

"""S3: versitygw over a folder. Bodies, tables and search shards are in it."""

import datetime
import hashlib
import hmac
import http.client
import os
import ssl
from pathlib import Path

import install
import tls
from ports import HOST
from services.service import Service

PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
VERSION = "v1.8.0"
REGION = "us-east-1"
BUCKET = "millrace"
ACCESS_KEY = "millrace"


class S3(Service):
    def install(self) -> None:
        install.go(PACKAGE, VERSION)

    def program(self) -> Path:
        return install.go(PACKAGE, VERSION)

    def command(self) -> list[str]:
        # No --keep-alive: this version loses its place in the stream after an upload with a trailer, as Arrow and
        # PyIceberg make them, and answers the next request on the connection with 400.
        front = [str(self.program()), "--port", self.address, "--region", REGION, "--quiet"]
        return [*front, *self.encryption(), "posix", *self.metadata(), str(self.data)]

    def encryption(self) -> list[str]:
        if not self.home.options.tls:
            return []
        ours = tls.certificates(self.home)
        return ["--cert", str(ours.certificate), "--key", str(ours.key)]

    def metadata(self) -> list[str]:
        """Entity tags are kept in extended attributes, or beside the objects where there are none."""
        try:
            os.setxattr(self.data, "user.millrace", b"")
        except OSError:
            return ["--sidecar", str(self.home.data(self.name + "-metadata"))]
        return []

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": secret(self)}

    def probe(self) -> None:
        status = request(self.port, secret(self), "GET", "/", tls.context(self.home))
        if status != 200:
            raise ConnectionError(f"S3 answered {status}")

    def finish(self) -> None:
        status = request(self.port, secret(self), "PUT", "/" + BUCKET, tls.context(self.home))
        if status not in (200, 409):
            raise ConnectionError(f"S3 answered {status} when the bucket {BUCKET} was made")

    def listens(self) -> list[tuple[str, str]]:
        # Behind a proxy it is that which everybody talks to.
        return [("s3-direct" if self.home.options.faults else "s3", self.address)]


def secret(service: Service) -> str:
    return service.home.secret("s3.secret")


def request(port: int, secret_key: str, method: str, path: str, trusted: ssl.SSLContext | None = None) -> int:
    """A signed request without a body (AWS Signature Version 4); gives the status."""
    now = datetime.datetime.now(datetime.timezone.utc)
    headers = sign(f"{HOST}:{port}", secret_key, method, path, now)
    connection = (
        http.client.HTTPSConnection(HOST, port, timeout=5, context=trusted)
        if trusted
        else http.client.HTTPConnection(HOST, port, timeout=5)
    )
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def sign(host: str, secret_key: str, method: str, path: str, now: datetime.datetime) -> dict[str, str]:
    day, moment = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{day}/{REGION}/s3/aws4_request"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": moment}
    names = ";".join(headers)
    lines = [f"{name}:{value}" for name, value in headers.items()]
    canonical = "\n".join([method, path, "", *lines, "", names, empty])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret_key).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers

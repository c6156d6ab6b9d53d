"""An Iceberg REST catalog: Iceberg's reference adapter over its JDBC catalog in PostgreSQL."""

import http.client
import json
import os
from pathlib import Path

import install
from ports import HOST
from services import postgres, s3
from services.service import Service
from state import Home, write_whole

# Its tables are in a database of its own: what Millrace keeps when it uses PostgreSQL directly is another catalog.
DATABASE = "iceberg_rest"

CONFIGURATION = """\
catalog-impl=org.apache.iceberg.jdbc.JdbcCatalog
uri=jdbc:postgresql://{postgres}/{database}
jdbc.user={user}
jdbc.password={password}
jdbc.schema-version=V1
warehouse=s3://{bucket}/warehouse
io-impl=org.apache.iceberg.aws.s3.S3FileIO
s3.endpoint={s3}
s3.path-style-access=true
s3.access-key-id={access_key}
s3.secret-access-key={secret_key}
client.region={region}
"""


class IcebergRest(Service):
    def __init__(self, home: Home, postgres_address: str, s3_address: str) -> None:
        super().__init__(home, "iceberg-rest")
        self.postgres_address = postgres_address
        self.s3_address = s3_address

    def install(self) -> None:
        install.maven("iceberg-rest")
        install.java(21)

    def program(self) -> Path:
        # Java 21 runs a source file that uses jars.
        return install.java(21)

    @property
    def configuration(self) -> Path:
        return self.home.conf(self.name) / "catalog.properties"

    def prepare(self) -> None:
        text = CONFIGURATION.format(
            postgres=self.postgres_address,
            database=DATABASE,
            user=postgres.USER,
            password=self.home.secret("postgres.password"),
            bucket=s3.BUCKET,
            s3=f"http://{self.s3_address}",
            access_key=s3.ACCESS_KEY,
            secret_key=self.home.secret("s3.secret"),
            region=s3.REGION,
        )
        write_whole(self.configuration, text, mode=0o600)

    def command(self) -> list[str]:
        source = Path(__file__).with_name("RestCatalog.java")
        java = [str(self.program()), "-Xmx384m", "-cp", str(install.maven("iceberg-rest") / "*"), str(source)]
        return [*java, HOST, str(self.port), str(self.configuration)]

    def environment(self) -> dict[str, str]:
        # The AWS client looks for a region here before it is told one.
        return {**os.environ, "AWS_REGION": s3.REGION}

    def probe(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            # It asks the tables in PostgreSQL.
            connection.request("GET", "/v1/namespaces")
            response = connection.getresponse()
            if response.status != 200 or "namespaces" not in json.loads(response.read()):
                raise ConnectionError(f"the catalog answered {response.status}")
        finally:
            connection.close()

    def listens(self) -> list[tuple[str, str]]:
        return [("iceberg-rest", self.address)]

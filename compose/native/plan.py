"""Which services a cluster has, in the order in which they start."""

from errors import Failure
from services import iceberg_rest, postgres
from services.iceberg_rest import IcebergRest
from services.kafka import Kafka
from services.postgres import Postgres
from services.redis import Redis
from services.s3 import S3
from services.service import Service
from state import Home


def stages(home: Home) -> list[list[Service]]:
    """Those of a stage start together; each stage needs the ones before it."""
    brokers = [Kafka(home, node) for node in range(1, home.options.brokers + 1)]
    store = S3(home, "s3")
    databases = [postgres.DATABASE, iceberg_rest.DATABASE]
    catalog = Postgres(home, databases if home.options.catalog == "rest" else databases[:1])
    found: list[list[Service]] = [[*brokers, Redis(home, "redis"), store, catalog]]
    if home.options.catalog == "rest":
        found.append([IcebergRest(home, catalog.address, store.address)])
    return found


def services(home: Home) -> list[Service]:
    return [service for stage in stages(home) for service in stage]


def named(home: Home, names: list[str]) -> list[Service]:
    """Services by name; `kafka` or `lander` is all of its kind."""
    everyone = services(home)
    found = []
    for name in names:
        matching = [service for service in everyone if service.name == name or is_one_of(service.name, name)]
        if not matching:
            known = " ".join(service.name for service in everyone)
            raise Failure(f"there is no service {name} in this cluster; there are: {known}")
        found += [service for service in matching if service not in found]
    return found


def is_one_of(name: str, kind: str) -> bool:
    head, _, number = name.rpartition("-")
    return head == kind and number.isdigit()

"""Which services a cluster has, in the order in which they start."""

from errors import Failure
from services import iceberg_rest, postgres
from services.clamd import Clamd
from services.iceberg_rest import IcebergRest
from services.kafka import Kafka
from services.millrace import ROLES, Millrace
from services.postgres import Postgres
from services.redis import Redis
from services.rspamd import Rspamd
from services.s3 import S3
from services.s3_faults import S3Faults
from services.service import Service
from state import Home

SCREENS = {"clamd": Clamd, "rspamd": Rspamd}


def stages(home: Home) -> list[list[Service]]:
    """Those of a stage start together; each stage needs the ones before it."""
    options = home.options
    brokers: list[Service] = [Kafka(home, node) for node in range(1, options.brokers + 1)]
    screens = [SCREENS[name](home, name) for name in options.screens]
    s3 = S3(home, "s3")
    front: Service = S3Faults(home, s3) if options.faults else s3
    databases = [postgres.DATABASE, iceberg_rest.DATABASE]
    catalog = Postgres(home, databases if options.catalog == "rest" else databases[:1])
    rest: list[Service] = [IcebergRest(home, catalog.address, front.address)] if options.catalog == "rest" else []
    roles: list[Service] = [
        Millrace(home, role, number) for role in ROLES for number in range(1, options.processes + 1)
    ]
    proxies = [front] if options.faults else []
    return [[*brokers, Redis(home, "redis"), s3, catalog, *screens], proxies, rest, roles]


def services(home: Home) -> list[Service]:
    return [service for stage in stages(home) for service in stage]


def named(home: Home, names: list[str]) -> list[Service]:
    """Services by name; `kafka` or `lander` is all of its kind."""
    everyone = services(home)
    found: list[Service] = []
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


def addresses(home: Home) -> dict[str, str]:
    """Where each kind of service is: several of a kind with commas between them."""
    found: dict[str, str] = {}
    for service in services(home):
        for kind, address in service.listens():
            found[kind] = f"{found[kind]},{address}" if kind in found else address
    return found

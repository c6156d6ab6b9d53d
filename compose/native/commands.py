"""The commands of `cluster`."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fault
import guard
import plan
import process
import supervise
import tls
from errors import Failure
from fault import Faults
from install import say
from process import State
from services import kafka, millrace, s3
from services.s3_faults import S3Faults
from services.service import Service
from state import Home, Options

# These say where data is: a cluster that has some cannot change them.
FIXED = ("brokers", "catalog", "partitions", "faults", "tls")

REPOSITORY = Path(__file__).resolve().parent.parent.parent

ALIVE = (State.RUNNING, State.FROZEN)


def up(home: Home, wanted: dict[str, Any], tied_to: int | None = None) -> None:
    if not home.exists():
        home.options = Options(**wanted)
        refuse_what_does_not_go_together(home.options)
        home.create()
    with home.locked():
        home.load()
        remember(home, wanted)
        home.options.binary = find_binary(home.options) if home.options.processes else ""
        home.save()
        if home.options.tls:
            tls.certificates(home).make()
        for service in plan.services(home):
            service.install()
        millrace.write_config(home, plan.addresses(home))
        if tied_to is not None:
            guard.start(home, tied_to)
        bring_up_all(home)
    report(home)


def refuse_what_does_not_go_together(options: Options) -> None:
    if options.tls and options.faults:
        raise Failure("--faults does not go with --tls: the proxy in front of S3 speaks plain HTTP alone")
    if options.tls and options.catalog == "rest":
        raise Failure("--catalog rest does not go with --tls: the REST catalog here speaks plain HTTP alone")


def remember(home: Home, wanted: dict[str, Any]) -> None:
    before = plan.services(home)
    for name, value in wanted.items():
        if name in FIXED and value != getattr(home.options, name):
            was = getattr(home.options, name)
            raise Failure(
                f"the cluster in {home.root} was made with {name} = {was}, which cannot change: "
                f"`cluster down --remove --dir {home.root}` first, or choose another --dir"
            )
        setattr(home.options, name, value)
    names = [service.name for service in plan.services(home)]
    supervise.stop([service for service in before if service.name not in names])
    home.save()


def find_binary(options: Options) -> str:
    """The one that was named, or what was built in this repository, which is built when it never was."""
    if options.binary:
        return options.binary
    target = target_folder()
    for path in (target / "release" / "millrace", target / "debug" / "millrace"):
        if path.exists():
            return str(path)
    build(target)
    return str(target / "release" / "millrace")


def target_folder() -> Path:
    """Where Cargo puts what it builds of this repository; people set that in more than one way."""
    question = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    try:
        told = subprocess.run(question, cwd=REPOSITORY, capture_output=True, check=True).stdout
        return Path(json.loads(told)["target_directory"])
    except (OSError, subprocess.CalledProcessError):
        return Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")


def build(target: Path) -> None:
    if shutil.which("cargo") is None:
        raise Failure(
            f"there is no millrace in {target} and no cargo to build it: install Rust (https://rustup.rs), or name a "
            "binary: --millrace PATH"
        )
    command = ["cargo", "build", "--release", "--locked", "--bin", "millrace"]
    say(f"there is no millrace in {target} yet; building it, which takes some minutes: {' '.join(command)}")
    # Its progress is for people: stdout is for what others read.
    if subprocess.run(command, cwd=REPOSITORY, stdout=sys.stderr).returncode != 0:
        raise Failure("millrace could not be built; the reason stands above")


def bring_up_all(home: Home) -> None:
    started = supervise.Started()
    try:
        for stage in plan.stages(home):
            supervise.bring_up(stage, started)
    except BaseException:
        if started.services:
            say("ending what was started: " + " ".join(service.name for service in started.services))
            supervise.stop(started.services[::-1])
        raise


def report(home: Home) -> None:
    for service in plan.services(home):
        for kind, address in service.listens():
            print(f"listening {kind} {address}")
    print(f"config {home.config_file}")


def start(home: Home, names: list[str]) -> None:
    supervise.bring_up(plan.named(home, names), supervise.Started())


def stop(home: Home, names: list[str]) -> None:
    supervise.stop(plan.named(home, names))


def kill(home: Home, names: list[str]) -> None:
    for service in running(home, names):
        supervise.kill(service)


def freeze(home: Home, names: list[str]) -> None:
    for service in running(home, names):
        supervise.freeze(service)


def thaw(home: Home, names: list[str]) -> None:
    for service in running(home, names):
        supervise.thaw(service)


def running(home: Home, names: list[str]) -> list[Service]:
    found = plan.named(home, names)
    for service in found:
        now = supervise.state(service)
        if now not in ALIVE:
            raise Failure(f"{service.name} is {now.value}: `cluster start {service.name}` starts it")
    return found


def down(home: Home, remove: bool) -> None:
    guard.end(home)
    for stage in reversed(plan.stages(home)):
        if remove:
            # Nothing of it will be read again.
            for service in stage:
                supervise.kill(service)
        supervise.stop(stage)
    if remove:
        shutil.rmtree(home.root)


def status(home: Home, as_json: bool) -> None:
    rows = [describe(service) for service in plan.services(home)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = [["NAME", "PID", "STATE", "ADDRESS", ""]]
    table += [[row["name"], str(row["pid"] or "-"), row["state"], row["address"] or "-", row["note"]] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def describe(service: Service) -> dict[str, Any]:
    now = supervise.state(service)
    head = process.recorded(service.home.record(service.name))
    return {
        "name": service.name,
        "pid": head.pid if head and now in ALIVE else None,
        "state": now.value,
        "address": service.serves(),
        "note": service.note(),
        "log": str(service.home.log(service.name)),
    }


def logs(home: Home, name: str, lines: int, follow: bool) -> None:
    files = [str(service.home.log(service.name)) for service in plan.named(home, [name])]
    present = [file for file in files if Path(file).exists()]
    if not present:
        raise Failure(f"{name} was never started: `cluster start {name}` does")
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *present])


def env(home: Home, as_json: bool) -> None:
    if as_json:
        print(json.dumps(variables(home), indent=2))
        return
    for name, value in variables(home).items():
        print(f"export {name}={shlex.quote(value)}")


def variables(home: Home) -> dict[str, str]:
    """Where tests find the services."""
    address = plan.addresses(home)
    redis_password, postgres_password = home.secret("redis.password"), home.secret("postgres.password")
    s, verified = ("s", "?sslmode=verify-full") if home.options.tls else ("", "")
    found = {
        "MILLRACE_CLUSTER_DIR": str(home.root),
        "MILLRACE_TEST_KAFKA": address["kafka"],
        "MILLRACE_TEST_REDIS": f"redis{s}://default:{redis_password}@{address['redis']}",
        "MILLRACE_TEST_S3": f"http{s}://{address['s3']}",
        "MILLRACE_TEST_S3_KEY": s3.ACCESS_KEY,
        "MILLRACE_TEST_S3_SECRET": home.secret("s3.secret"),
        "MILLRACE_TEST_POSTGRES": f"postgresql://millrace:{postgres_password}@{address['postgres']}/millrace{verified}",
    }
    if home.options.tls:
        found["MILLRACE_TEST_CA_FILE"] = str(tls.certificates(home).authority)
        found["MILLRACE_TEST_KAFKA_SASL_MECHANISM"] = kafka.MECHANISM
        found["MILLRACE_TEST_KAFKA_USERNAME"] = kafka.USER
        found["MILLRACE_TEST_KAFKA_PASSWORD"] = home.secret("kafka.password")
    if "iceberg-rest" in address:
        found["MILLRACE_TEST_ICEBERG_REST"] = f"http://{address['iceberg-rest']}"
    found |= {f"MILLRACE_TEST_{name.upper()}": address[name] for name in home.options.screens}
    return found


def set_fault(home: Home, faults: Faults | None) -> None:
    """Without new ones, says what there are."""
    proxies = [service for service in plan.services(home) if isinstance(service, S3Faults)]
    if not proxies:
        raise Failure(f"S3 has no proxy in the cluster in {home.root}: make the cluster with `cluster up --faults`")
    if faults is not None:
        fault.write(proxies[0].control, faults)
    print(fault.read(proxies[0].control))

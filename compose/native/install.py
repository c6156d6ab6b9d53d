"""Brings what is missing, from package registries, in versions that stand here."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from errors import Failure
from state import make_folder

HERE = Path(__file__).resolve().parent


def cache() -> Path:
    base = os.environ.get("MILLRACE_CACHE") or Path.home() / ".cache" / "millrace"
    return make_folder(Path(base).absolute() / "services")


def command(name: str, package: str) -> Path:
    """A program of the system, from its package when it is missing."""
    found = look_up(name)
    if found is None:
        apt(package)
        found = look_up(name)
    if found is None:
        raise Failure(f"the package {package} is installed and has no program {name}: is PATH complete?")
    return found


def look_up(name: str) -> Path | None:
    """Also in the folders that only root's PATH has."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def apt(package: str) -> None:
    if os.geteuid() != 0 or look_up("apt-get") is None:
        raise Failure(f"{package} is missing: install it (Debian: sudo apt-get install {package}) and try again")
    say(f"installing {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A server that its package starts would run beside ours: policy-rc.d says no for the time of the installation.
    with locked(), no_services_started():
        get = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        run([*get, "update"], environment)
        run([*get, "install", "-y", "--no-install-recommends", package], environment)


@contextmanager
def no_services_started() -> Iterator[None]:
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def maven(name: str) -> Path:
    """The folder of jars that `poms/NAME.xml` names, with all that they need."""
    pom = HERE / "poms" / (name + ".xml")
    version = re.search(r"<version>([^<]+)</version>", pom.read_text())
    assert version is not None, "every pom here has a version, which is that of what it brings"

    def fetch(mvn: Path, folder: Path) -> None:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        run([str(mvn), "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={folder}"])

    return cached(f"{name}-{version[1]}", ("mvn", "maven"), fetch)


def go(package: str, version: str) -> Path:
    """A program made by `go install`."""

    def build(compiler: Path, folder: Path) -> None:
        refuse_old_go(compiler)
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-trimpath"}
        run([str(compiler), "install", f"{package}@{version}"], environment)

    name = package.rpartition("/")[2]
    return cached(f"{name}-{version}", ("go", "golang-go"), build) / name


def refuse_old_go(compiler: Path) -> None:
    """From 1.21 on, Go fetches the newer one that a program asks for; Debian 12 has 1.19."""
    told = subprocess.run([compiler, "version"], capture_output=True, text=True).stdout
    version = re.search(r"go(\d+)\.(\d+)", told)
    if version is None or (int(version[1]), int(version[2])) < (1, 21):
        raise Failure(f"{compiler} is too old ({told.strip()}): install Go 1.21 or newer (https://go.dev/dl)")


def cached(name: str, tool: tuple[str, str], make: Callable[[Path, Path], None]) -> Path:
    """A folder of the cache: made whole under another name, so that half of one is never used.

    It is made by a program, which is given with its package.
    """
    folder = cache() / name
    if folder.exists():
        return folder
    program = command(*tool)
    with locked():
        if folder.exists():
            return folder
        say(f"fetching {name} into {cache()}")
        new = Path(tempfile.mkdtemp(prefix=name + ".", dir=cache()))
        try:
            make(program, new)
            new.chmod(0o755)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return folder


@contextmanager
def locked() -> Iterator[None]:
    """Two that install at once would do the same work, or disturb each other."""
    with open(cache() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java(minimum: int) -> Path:
    """The oldest Java of at least this version, which is the one that was tried; Debian's when there is none."""
    fitting = javas(minimum)
    if not fitting and os.geteuid() == 0 and look_up("apt-get"):
        # Debian 12 has 17 and no newer one, Debian 13 has 21.
        for package in (f"openjdk-{minimum}-jdk-headless", "default-jdk-headless"):
            with contextlib.suppress(Failure):
                apt(package)
            if fitting := javas(minimum):
                break
    if not fitting:
        raise Failure(f"no Java {minimum} or newer was found: install one, or name its folder in JAVA_HOME")
    return min(fitting)[1] / "bin" / "java"


def javas(minimum: int) -> list[tuple[int, Path]]:
    homes = [Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    homes += sorted(Path("/usr/lib/jvm").glob("*")) + sorted(Path("/opt").glob("*jdk*"))
    if on_path := shutil.which("java"):
        homes.append(Path(on_path).resolve().parent.parent)
    found = {home.resolve(): java_version(home) for home in homes if (home / "bin" / "java").exists()}
    return [(version, home) for home, version in found.items() if version >= minimum]


def java_version(home: Path) -> int:
    try:
        match = re.search(r'JAVA_VERSION="(\d+)', (home / "release").read_text())
    except OSError:
        return 0
    return int(match[1]) if match else 0


def run(command_line: list[str], environment: dict[str, str] | None = None) -> None:
    result = subprocess.run(command_line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise Failure(f"`{' '.join(command_line)}` failed:\n{result.stdout[-2000:].strip()}")


def say(text: str) -> None:
    """Progress goes to stderr: stdout is for what others read."""
    print(text, file=sys.stderr, flush=True)

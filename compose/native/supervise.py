"""Starting, watching and ending the processes of services."""

import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import ports
import process
from errors import Failure
from install import say
from process import Process, State
from services.service import Service
from state import START_MARK


class Started:
    """What was started here, to be undone if the rest does not come up."""

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.children: dict[str, subprocess.Popen[bytes]] = {}


def state(service: Service) -> State:
    return process.state(service.home.record(service.name))


def bring_up(services: list[Service], started: Started) -> None:
    """Starts what is not running, all at once, and waits until each is ready."""
    for service in services:
        if state(service) is State.FROZEN:
            raise Failure(f"{service.name} is frozen: `cluster thaw {service.name}` wakes it up")
        if state(service) is not State.RUNNING:
            start(service, started)
    for service in services:
        wait_ready(service, started.children.get(service.name))
        service.finish()


def start(service: Service, started: Started) -> None:
    clear_away(service)
    refuse_taken_ports(service)
    # Before anything of it runs, which whoever comes after an end by force has to find.
    service.home.remember_program(service.name, service.program())
    service.prepare()
    say(f"starting {service.name}")
    record, log = service.home.record(service.name), service.home.log(service.name)
    started.services.append(service)
    with open(log, "a") as file:
        file.write(f"{START_MARK}{service.name} {datetime.now().astimezone().isoformat(timespec='seconds')}\n")
    # Until it is recorded nobody could end it.
    with process.undisturbed():
        child = process.spawn(service.command(), record, log, service.data, service.environment())
        started.children[service.name] = child
        while child.poll() is None and process.recorded(record) is None:
            time.sleep(0.01)


def refuse_taken_ports(service: Service) -> None:
    """Whoever has the port would be taken for the service, and would be told its password."""
    for port in service.ports():
        if not ports.is_free(port):
            raise Failure(
                f"port {port} of {service.name} is taken by another process: end that one (`ss -ltnp` names it), or "
                "make the cluster anew with `cluster down --remove` and `cluster up`"
            )


def wait_ready(service: Service, child: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + service.ready_seconds
    while True:
        try:
            return service.probe()
        except Exception as error:
            # Whatever came instead of the right answer.
            reason = error
        if has_ended(service, child):
            raise Failure(f"{service.name} ended while it started; {last_words(service)}")
        if time.monotonic() > deadline:
            waited = f"{service.name} is not ready after {service.ready_seconds:.0f} s"
            raise Failure(f"{waited}: {reason}; {last_words(service)}")
        time.sleep(0.1)


def has_ended(service: Service, child: subprocess.Popen[bytes] | None) -> bool:
    return (child is not None and child.poll() is not None) or state(service) in (State.DEAD, State.STOPPED)


def last_words(service: Service) -> str:
    log = service.home.log(service.name)
    lines = since_start(service).splitlines()[-12:]
    return "\n".join([f"the end of {log}:", *("  " + line for line in lines)])


def since_start(service: Service) -> str:
    """What a service said since it was started last."""
    log = service.home.log(service.name)
    return log.read_text(errors="replace").rpartition(START_MARK)[2] if log.exists() else ""


def members(service: Service) -> set[Process]:
    """Every process of a service, also those whose parent was killed."""
    head = process.recorded(service.home.record(service.name))
    found = process.family(head) if head else set()
    program = service.home.programs.get(service.name)
    return found | process.at_work(Path(program), service.data) if program else found


def clear_away(service: Service) -> None:
    """What is left of a service whose process died, so that it can be started again."""
    for member in members(service):
        member.send(signal.SIGKILL)
    process.wait_gone(members(service), 5)
    service.home.record(service.name).unlink(missing_ok=True)


def stop(services: list[Service]) -> None:
    """Asks all to end, and kills what does not."""
    asked = [(service, members(service), time.monotonic() + service.stop_seconds) for service in services]
    for service, processes, _ in asked:
        head = process.recorded(service.home.record(service.name))
        if head is not None:
            head.send(service.stop_signal)
        # A process that is frozen hears of the signal only when it goes on.
        send(processes, signal.SIGCONT)
    for service, processes, deadline in asked:
        if process.wait_gone(processes, max(0, deadline - time.monotonic())):
            say(f"{service.name} did not end within {service.stop_seconds:.0f} s and is killed")
        kill(service)
        service.home.record(service.name).unlink(missing_ok=True)


def kill(service: Service) -> None:
    """Ends a service at once. Its record stays: `status` calls it dead."""
    deadline = time.monotonic() + 10
    while left := members(service):
        send(left, signal.SIGKILL)
        if process.wait_gone(left, 2) and time.monotonic() > deadline:
            numbers = " ".join(str(one.pid) for one in left)
            raise Failure(f"{service.name} cannot be killed (processes {numbers}): may this user signal them?")


def freeze(service: Service) -> None:
    send(members(service), signal.SIGSTOP)


def thaw(service: Service) -> None:
    send(members(service), signal.SIGCONT)


def send(processes: set[Process], number: signal.Signals) -> None:
    for one in processes:
        one.send(number)

"""A real millrace process for the tests."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

PASSWORD = "correct horse battery staple"
ADDRESS = "alice@millrace.test"


class Server:
    def __init__(self, data: pathlib.Path):
        self.data = data
        self.environment = dict(
            os.environ, MILLRACE_SCREENING_DNS="off", MILLRACE_LANDING_INTERVAL_S="1"
        )
        self.process = subprocess.Popen(
            [*self.command(), "up", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self.smtp = self.listening("smtp")
        self.http = self.listening("http")
        self.run("account", "add", ADDRESS, "--password-stdin", input=PASSWORD + "\n")

    def command(self):
        return [os.environ["MILLRACE_BINARY"], "--data", str(self.data)]

    def listening(self, name):
        line = self.process.stdout.readline().strip()
        prefix = f"listening {name} "
        assert line.startswith(prefix), line
        host, port = line.removeprefix(prefix).rsplit(":", 1)
        return host, int(port)

    def run(self, *arguments, input=None):
        done = subprocess.run(
            [*self.command(), *arguments], input=input, capture_output=True, text=True, env=self.environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("millrace"))
    yield server
    server.stop()


def eventually(check, seconds=15):
    """Calls check until it gives something true."""
    end = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)

"""Free ports on the loopback address."""

import random
import socket

HOST = "127.0.0.1"

# Below the range that Linux takes outgoing connections' ports from: the port of a service that is stopped for a while
# must not be taken by somebody's client.
FIRST, LAST = 15_000, 32_000


def choose(taken: set[int]) -> int:
    """A port that nobody listens on and that is not one of `taken`."""
    while True:
        port = random.randint(FIRST, LAST)
        if port not in taken and is_free(port):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

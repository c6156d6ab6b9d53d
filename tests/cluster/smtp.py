"""An SMTP client that tells what became of a transaction, and whether it can know."""

import enum
import socket


class Outcome(enum.Enum):
    ACCEPTED = "250"
    # To be tried again later.
    PUT_OFF = "4xx"
    REFUSED = "5xx"
    # The connection ended before the answer: it may have been taken or not.
    LOST = "lost"


class Refusal(Exception):
    """Another reply than the one that goes on."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.outcome = Outcome.PUT_OFF if reply.startswith("4") else Outcome.REFUSED


class Client:
    """One connection. A reply may take as long as `seconds`."""

    def __init__(self, port: int, seconds: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.expect(b"", "220")
        self.expect(b"EHLO client.example.org\r\n", "250")

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, recipient: str, raw: bytes) -> tuple[Outcome, str]:
        """One transaction; after anything but ACCEPTED the connection is of no more use."""
        try:
            self.expect(b"MAIL FROM:<sender@example.org>\r\n", "250")
            self.expect(f"RCPT TO:<{recipient}>\r\n".encode(), "250")
            self.expect(b"DATA\r\n", "354")
            self.expect(dot_stuffed(raw), "250")
        except Refusal as refusal:
            return refusal.outcome, str(refusal)
        except (OSError, EOFError) as error:
            return Outcome.LOST, f"{type(error).__name__}: {error}"
        return Outcome.ACCEPTED, ""

    def expect(self, command: bytes, code: str) -> None:
        if command:
            self.socket.sendall(command)
        reply = self.reply()
        if not reply.startswith(code):
            raise Refusal(reply)

    def reply(self) -> str:
        while True:
            line = self.stream.readline()
            if not line.endswith(b"\n"):
                raise EOFError("the server closed the connection")
            if line[3:4] != b"-":
                return line.decode(errors="replace").rstrip()


def canonical(raw: bytes) -> bytes:
    """The bytes with CRLF line ends, as they travel."""
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def dot_stuffed(raw: bytes) -> bytes:
    lines = canonical(raw).replace(b"\r\n.", b"\r\n..")
    return (b"." if lines.startswith(b".") else b"") + lines + b".\r\n"

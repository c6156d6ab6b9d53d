"""A JMAP client as thin as can be, of one account, which may ask any process of the API."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

from cluster import PASSWORD, Account

USING = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"]

# Another process may answer: the connection, or a 5xx.
Unavailable = (OSError, http.client.HTTPException)


class MethodError(Exception):
    """The answer to a method call was an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(json.dumps(error))
        self.kind: str = error["type"]


class Unanswered(OSError):
    """A status that is no answer."""


class Jmap:
    def __init__(self, port: int, account: Account, seconds: float = 15) -> None:
        self.port = port
        self.account = account
        self.seconds = seconds
        login = base64.b64encode(f"{account.address}:{PASSWORD}".encode()).decode()
        self.headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        self.connection: http.client.HTTPConnection | None = None

    def request(self, verb: str, path: str, body: bytes | None = None) -> bytes:
        connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
        self.connection = None
        try:
            connection.request(verb, path, body, self.headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.status != 200:
            connection.close()
            raise Unanswered(f"{response.status} {content[:300].decode(errors='replace')}")
        self.connection = connection
        return content

    def calls(self, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to the calls, none of which may be an error."""
        numbered = [
            [name, {"accountId": self.account.id, **given}, str(place)] for place, (name, given) in enumerate(calls)
        ]
        body = json.dumps({"using": USING, "methodCalls": numbered}).encode()
        answers = json.loads(self.request("POST", "/jmap", body))["methodResponses"]
        for name, answer, _ in answers:
            if name == "error":
                # Said of a method that a service behind it did not serve: as good as a 503.
                if answer["type"] in ("serverUnavailable", "serverFail", "serverPartialFail"):
                    raise Unanswered(json.dumps(answer))
                raise MethodError(answer)
        return [answer for _, answer, _ in answers]

    def state(self) -> int:
        return int(self.calls(("Email/get", {"ids": []}))[0]["state"])

    def query(self, filter: dict[str, Any] | None = None) -> list[str]:
        """Ids of all emails that a filter lets through, newest first."""
        found: list[str] = []
        while True:
            asked = {"filter": filter, "position": len(found), "limit": 5000}
            page = self.calls(("Email/query", {**asked, "sort": [{"property": "receivedAt", "isAscending": False}]}))
            found += page[0]["ids"]
            if len(page[0]["ids"]) < 5000:
                return found

    def emails(self, ids: list[str], properties: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(ids), 500):
            asked = {"ids": ids[start : start + 500], "properties": properties}
            found += self.calls(("Email/get", asked))[0]["list"]
        return found

    def download(self, blob: str) -> bytes:
        return self.request("GET", f"/jmap/download/{self.account.id}/{blob}/message.eml?type=message/rfc822")

    def events(self, last_id: str, opened: Callable[[], None]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the event source tells, with the id of each; ends with the connection, which pings every 5 s."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            headers = {**self.headers, **({"Last-Event-ID": last_id} if last_id else {})}
            connection.request("GET", "/jmap/eventsource?types=*&closeafter=no&ping=5", headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise Unanswered(f"{response.status} of the event source")
            opened()
            while line := response.readline():
                if line.startswith(b"id:"):
                    last_id = line[3:].decode().strip()
                if line.startswith(b"data:"):
                    yield last_id, json.loads(line[5:])
        finally:
            connection.close()

"""Mail clients written by others: smtplib and swaks send, jmapc reads."""

import email.message
import functools
import smtplib
import ssl
import subprocess

import jmapc
import pytest
import requests
from conftest import ADDRESS, PASSWORD, eventually
from jmapc.methods import EmailGet, EmailQuery, MailboxGet


class PlainClient(jmapc.Client):
    """jmapc asks for its session over https only; here it is on this machine, over http."""

    @functools.cached_property
    def jmap_session(self):
        response = self.requests_session.get(f"http://{self._host}/.well-known/jmap", timeout=30)
        response.raise_for_status()
        return jmapc.client.Session.from_dict(response.json())


def client(server):
    host, port = server.http
    return PlainClient.create_with_password(f"{host}:{port}", ADDRESS, PASSWORD)


def subjects(client):
    found = client.request([EmailQuery(), EmailGet(ids=jmapc.Ref(path="/ids"), properties=["subject"])])
    return {mail.subject for mail in found[-1].response.data}


def message(subject):
    message = email.message.EmailMessage()
    message["From"] = "Bob <bob@example.org>"
    message["To"] = ADDRESS
    message["Subject"] = subject
    message.set_content(f"This is {subject}, with ünïcödé and 한국어.\n.\n..two dots\n")
    message.add_attachment(b"\x00\x01binary" * 100, maintype="application", subtype="octet-stream", filename="a.bin")
    return message


def test_smtplib_sends_and_jmapc_reads(server):
    with smtplib.SMTP(*server.smtp) as smtp:
        smtp.ehlo("client.example.org")
        for extension in ["pipelining", "8bitmime", "smtputf8", "size", "chunking", "enhancedstatuscodes", "starttls"]:
            assert smtp.has_extn(extension), extension
        smtp.send_message(message("by smtplib"))
    jmap = client(server)
    eventually(lambda: "by smtplib" in subjects(jmap))
    mailboxes = jmap.request(MailboxGet(ids=None)).data
    assert {"inbox", "junk", "trash"} <= {mailbox.role for mailbox in mailboxes}


def test_smtplib_over_starttls(server):
    with smtplib.SMTP(*server.smtp) as smtp:
        smtp.starttls(context=ssl._create_unverified_context())
        smtp.send_message(message("over TLS"))
    eventually(lambda: "over TLS" in subjects(client(server)))


def test_smtplib_is_told_who_is_unknown(server):
    with smtplib.SMTP(*server.smtp) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail("bob@example.org", ["nobody@millrace.test"], "Subject: x\r\n\r\nx\r\n")
        code, text = refused.value.recipients["nobody@millrace.test"]
        assert code == 550 and text.startswith(b"5.1.1")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail("bob@example.org", ["someone@elsewhere.example"], "Subject: x\r\n\r\nx\r\n")
        assert refused.value.recipients["someone@elsewhere.example"][0] in (550, 554)


@pytest.mark.parametrize("options", [[], ["--pipeline"], ["--tls"]])
def test_swaks(server, options):
    subject = f"by swaks {' '.join(options)}"
    host, port = server.smtp
    command = ["swaks", "--server", f"{host}:{port}", "--from", "bob@example.org", "--to", ADDRESS]
    done = subprocess.run(
        [*command, "--header", f"Subject: {subject}", *options], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: subject.strip() in subjects(client(server)))


def test_wrong_password_is_refused(server):
    host, port = server.http
    answer = requests.get(f"http://{host}:{port}/.well-known/jmap", auth=(ADDRESS, "wrong"), timeout=30)
    assert answer.status_code == 401


def test_audit_is_clean(server):
    eventually(lambda: '"in_flight":0' in server.run("audit", "--bodies", "--json"))

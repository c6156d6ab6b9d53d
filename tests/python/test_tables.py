"""The tables, read by PyIceberg, have the rows that our own SQL shows."""

import json
import smtplib

import pyarrow
from conftest import ADDRESS, eventually
from pyiceberg.catalog.sql import SqlCatalog

TABLES = {
    "emails": ["account_id", "email_id", "subject", "size_bytes", "seq"],
    "email_state": ["account_id", "email_id", "is_read", "is_destroyed", "seq"],
    "reception": ["message_id", "body", "size_bytes", "log_partition", "log_offset"],
    "screened": ["message_id", "disposition", "log_partition", "log_offset"],
    "delivery": ["message_id", "event", "recipient", "log_partition", "log_offset"],
}


def rows_of(table: pyarrow.Table):
    return sorted(json.dumps(row, sort_keys=True) for row in table.to_pylist())


def test_pyiceberg_reads_the_same_rows(server):
    for number in range(25):
        with smtplib.SMTP(*server.smtp) as smtp:
            text = f"From: b@example.org\r\nSubject: n\u00famero {number} \uc81c\ubaa9\r\n\r\ntext {number}\r\n"
            smtp.sendmail("b@example.org", [ADDRESS], text.encode(), mail_options=["SMTPUTF8", "BODY=8BITMIME"])

    catalog = SqlCatalog(
        "millrace",
        uri=f"sqlite:///{server.data}/catalog.db",
        warehouse=f"file://{server.data}/warehouse",
    )
    for name, columns in TABLES.items():
        def same(name=name, columns=columns):
            # First, since rows that come in between are only ours.
            theirs = rows_of(catalog.load_table(f"mail.{name}").scan(selected_fields=tuple(columns)).to_arrow())
            lines = server.run("query", f"SELECT {', '.join(columns)} FROM {name}", "--format", "json").splitlines()
            ours = sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines)
            assert len(theirs) <= len(ours)
            return len(ours) >= 25 and ours == theirs

        eventually(same, seconds=30)


def test_positions_are_in_the_snapshot_summary(server):
    catalog = SqlCatalog(
        "millrace", uri=f"sqlite:///{server.data}/catalog.db", warehouse=f"file://{server.data}/warehouse"
    )
    summary = catalog.load_table("mail.emails").current_snapshot().summary
    positions = json.loads(summary["millrace.positions"])
    assert sum(positions["mailbox.changes"].values()) >= 25
    assert int(summary["total-records"]) >= 25

"""The table of failures, in Markdown."""

import os
import time
from pathlib import Path

from checks import Verdict

HEAD = [
    "what was done", "250", "4xx", "lost connections", "longest without a 250, s", "mail taken again, s",
    "mail shown again, s", "longest wait for a list, s", "missing", "doubled", "changes made", "outrun", "audit", "seen of the failure",
]  # fmt: skip

BEGIN, END = "<!-- failures: begin -->", "<!-- failures: end -->"


def cells(verdict: Verdict) -> list[str]:
    return [
        verdict.title, str(verdict.accepted), str(verdict.put_off), str(verdict.lost), seconds(verdict.pause_s),
        seconds(verdict.taken_s), seconds(verdict.shown_s), seconds(verdict.listing_s), str(verdict.missing),
        str(verdict.doubled), str(verdict.changed), str(verdict.outrun),
        verdict.audit if not verdict.problems else f"**failed**: {verdict.problems[0][:120]}",
        verdict.evidence,
    ]  # fmt: skip


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"


def row(verdict: Verdict) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(verdict)) + " |"


def markdown(rows: list[str]) -> str:
    return "\n".join(["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD), *rows])


def write(path: Path, verdicts: list[Verdict], rate: float, is_part: bool) -> None:
    """Puts the table between the markers, and leaves what people wrote around it. A part of the failures takes the place
    of its own rows, when all others are of the same head, day, rate and machine.
    """
    made = (
        f"Made by `tests/cluster/run --write docs/failures.md` on {time.strftime('%Y-%m-%d')}, "
        f"{rate:.0f} messages a second, on {os.cpu_count()} cores."
    )
    text = path.read_text() if path.exists() else f"# Failures\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = [row(verdict) for verdict in verdicts]
    if is_part and old.startswith(f"\n{made}\n\n{markdown([])}\n"):
        new = {title(one): one for one in rows}
        rows = [new.pop(title(one), one) for one in old.splitlines()[5:]] + list(new.values())
    path.write_text(f"{before}{BEGIN}\n{made}\n\n{markdown(rows)}\n{END}{after}")


def title(row: str) -> str:
    return row.split(" | ")[0]

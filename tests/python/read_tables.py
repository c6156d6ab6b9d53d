"""Prints the rows of Millrace's tables as PyIceberg reads them, one JSON object a line.

    read_tables.py DATA_DIR TABLE [COLUMN=VALUE]

Times are microseconds since 1970 UTC. With a condition, PyIceberg plans with it, so that wrong partition values or
bounds would lose rows. Needs pyiceberg[sql-sqlite,pyarrow].
"""

import datetime
import json
import pathlib
import sys

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    raise TypeError(f"{type(value)} has no JSON form here")


def main():
    directory, name = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    catalog = SqlCatalog("millrace", uri=f"sqlite:///{directory}/catalog.db")
    table = catalog.load_table(f"mail.{name}")
    scan = table.scan()
    if len(sys.argv) > 3:
        column, value = sys.argv[3].split("=", 1)
        scan = table.scan(row_filter=EqualTo(column, {"true": True, "false": False}.get(value, value)))
    for row in scan.to_arrow().to_pylist():
        print(json.dumps(row, default=plain, ensure_ascii=False))


main()

"""Prints the rows of Millrace's tables as PyIceberg reads them, one JSON object a line.

    read_tables.py DATA_DIR TABLE [COLUMN=VALUE]
    read_tables.py '{"uri": …, "s3.endpoint": …}' TABLE [COLUMN=VALUE]

The second form names the catalog of a cluster, by the properties that PyIceberg knows it by; `namespace` among them is
that of the tables, where it is not `mail`. Times are microseconds since 1970 UTC. With a condition, PyIceberg plans with it, so that wrong partition values or
bounds would lose rows. Needs pyiceberg[sql-sqlite,sql-postgres,pyarrow].
"""

import datetime
import json
import pathlib
import sys

from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import EqualTo

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    raise TypeError(f"{type(value)} has no JSON form here")


def main():
    where, name = sys.argv[1:3]
    if where.startswith("{"):
        properties = json.loads(where)
    else:
        properties = {"type": "sql", "uri": f"sqlite:///{pathlib.Path(where).resolve()}/catalog.db"}
    namespace = properties.pop("namespace", "mail")
    table = load_catalog("millrace", **properties).load_table(f"{namespace}.{name}")
    scan = table.scan()
    if len(sys.argv) > 3:
        column, value = sys.argv[3].split("=", 1)
        scan = table.scan(row_filter=EqualTo(column, {"true": True, "false": False}.get(value, value)))
    for row in scan.to_arrow().to_pylist():
        print(json.dumps(row, default=plain, ensure_ascii=False))


main()

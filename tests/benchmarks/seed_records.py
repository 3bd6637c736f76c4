"""Runs in the runner's image while the runner is stopped: makes so many records, and prints how many there are.

    seed_records.py DATABASE WANTED

The oldest are deleted or copies of the newest success are added. Copies, so that it needs no knowledge of the columns.
The database's own triggers hold: a row is born queued, and only one that has ended can be deleted.
"""

import sqlite3
import sys
import uuid

database, wanted = sys.argv[1], int(sys.argv[2])
connection = sqlite3.connect(database)
connection.row_factory = sqlite3.Row
connection.execute("PRAGMA foreign_keys = ON")


def insert(table: str, row: dict[str, object]) -> None:
    """Add a row."""
    columns = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values()))


with connection:
    newest = "SELECT * FROM invocations WHERE status = 'succeeded' ORDER BY sequence DESC LIMIT 1"
    record = dict(connection.execute(newest).fetchone())
    of_it = "SELECT * FROM invocation_facts WHERE invocation_id = ?"
    facts = dict(connection.execute(of_it, [record["id"]]).fetchone())
    del record["sequence"]
    oldest = "SELECT sequence FROM invocations ORDER BY sequence DESC LIMIT -1 OFFSET ?"
    connection.execute(f"DELETE FROM invocations WHERE sequence IN ({oldest})", [wanted])
    (there,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
    for _ in range(wanted - there):
        identifier = str(uuid.uuid4())
        insert("invocations", record | {"id": identifier, "status": "queued"})
        insert("invocation_facts", facts | {"invocation_id": identifier})
    connection.execute("UPDATE invocations SET status = 'succeeded' WHERE status = 'queued'")
print(connection.execute("SELECT count(*) FROM invocations").fetchone()[0])

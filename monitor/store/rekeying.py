"""Everything that is kept, sealed anew with the newest key: after the first key, or after a new one."""

from sqlalchemy import select, update

from monitor.store.database import Database
from monitor.store.tables import SEALED


def rekey(database: Database) -> int:
    """Seal every value anew in one transaction, and leave nothing behind of what was there. Returns how many.

    Raises:
        StoreError: a value cannot be opened, and then nothing is changed; or somebody is using the store.
    """
    count = 0
    with database.writing() as connection:
        for table, column in SEALED.items():
            keys = list(table.primary_key.columns)
            for row in connection.execute(select(*keys)).all():
                this = [key == value for key, value in zip(keys, row, strict=True)]
                kept = connection.execute(select(table.c[column]).where(*this).with_for_update()).scalar_one()
                plain = database.opened(table, tuple(row), kept, anything=True)
                sealed = database.sealed(table, {**row._mapping, column: plain})  # noqa: SLF001 - its public name
                connection.execute(update(table).where(*this).values({column: sealed[column]}))
                count += 1
    database.compact()
    return count

"""Who owns a shard: each claim raises its epoch, and whoever comes with an older one is refused.

A replica that was away for a while (stopped, cut off, or just slow) does not know that others have taken over. The
epoch is compared in the transaction that would write, so it cannot be late.
"""

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, true, update

from monitor.store.database import Database, StoreError
from monitor.store.tables import OWNERS


class FencedError(StoreError):
    """A shard has another owner by now. Going on begins with claiming it anew."""

    def __init__(self, message: str) -> None:
        super().__init__(message, passing=True)


class Holding:
    """The shards that this process works for: None before it has said so, then by their epochs."""

    def __init__(self) -> None:
        self.shards: dict[str, int] | None = None

    def holds(self, shard: ColumnElement[str]) -> ColumnElement[bool]:
        """The condition that a row belongs to this process, also at the moment of the query."""
        if self.shards is None:
            return true()
        mine = [and_(OWNERS.c.shard == name, OWNERS.c.epoch == epoch) for name, epoch in self.shards.items()]
        return shard.in_(select(OWNERS.c.shard).where(or_(false(), *mine)))


def read_epochs(database: Database) -> dict[str, int]:
    """The epoch of every shard that was ever claimed."""
    return {row.shard: row.epoch for row in database.read(select(OWNERS.c.shard, OWNERS.c.epoch))}


def take(database: Database, connection: Connection, shard: str, owner: str, now: float) -> int:
    """Claim a shard inside a transaction; return its new epoch."""
    _know(database, connection, shard)
    this = OWNERS.c.shard == shard
    connection.execute(update(OWNERS).where(this).values(epoch=OWNERS.c.epoch + 1, owner=owner, claimed_at=now))
    return int(connection.execute(select(OWNERS.c.epoch).where(this)).scalar_one())


def check(database: Database, connection: Connection, shard: str, epoch: int) -> None:
    """Raise FencedError unless `epoch` is still the shard's; it stays so until the transaction ends."""
    if epoch == 0:
        _know(database, connection, shard)
    # An update, because that locks the row: nobody can claim the shard before this transaction has ended.
    this = OWNERS.c.shard == shard
    same = update(OWNERS).where(this, OWNERS.c.epoch == epoch).values(epoch=epoch)
    if connection.execute(same).rowcount == 0:
        owner = connection.execute(select(OWNERS.c.owner).where(this)).scalar()
        raise FencedError(f"{database.where}: shard {shard} was taken over by {owner or 'nobody known'}")


def _know(database: Database, connection: Connection, shard: str) -> None:
    row = {"shard": shard, "epoch": 0, "owner": "", "claimed_at": 0.0}
    database.put(connection, OWNERS, [row], replace=False)

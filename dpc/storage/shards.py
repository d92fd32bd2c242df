"""Which rows of a table belong to a shard."""

from __future__ import annotations

import pandas as pd

from dpc.storage.hashing import hash_order


def of_shard(table: pd.DataFrame, shard: int, shards: int) -> pd.DataFrame:
    """Return the rows of shard `shard` (from 1) of `shards`: a question's shard depends on its id alone."""
    is_here = [int(hash_order(key, "shard")[:8], 16) % shards == shard - 1 for key in table["problem_id"]]
    return table.loc[is_here].reset_index(drop=True)

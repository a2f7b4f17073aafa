"""The errors of shards.

ShardError             they cannot be had: no index, no such store, nothing written
├── OtherShards        whole, but made from another manifest or for another input spec: pack anew
└── DamagedShard       a shard is missing, cut short or altered: fetch or pack it again
"""

from __future__ import annotations

from training.errors import TrainingError


class ShardError(TrainingError):
    """Shards that cannot be used. The message names the URL or the shard."""


class OtherShards(ShardError):
    """Shards of another manifest or another input spec than the run's."""


class DamagedShard(ShardError):
    """A shard that is not what the index says."""

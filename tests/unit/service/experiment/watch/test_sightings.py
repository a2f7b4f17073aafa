"""Units that were seen before."""

from __future__ import annotations

from contract.decision_log import name_hash
from service.experiment.watch.sightings import Sightings


def test_each_unit_is_new_once() -> None:
    seen = Sightings()
    hashes = [name_hash(str(i)) for i in range(20_000)]
    assert sum(seen.first(unit) for unit in hashes) >= 19_990
    assert not any(seen.first(unit) for unit in hashes)

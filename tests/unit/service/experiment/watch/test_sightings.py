"""Units that were seen before."""

from __future__ import annotations

import pytest

from contract.decision_log import name_hash
from service.experiment.watch import sightings
from service.experiment.watch.sightings import Sightings


def test_each_unit_is_new_once() -> None:
    seen = Sightings()
    hashes = [name_hash(str(i)) for i in range(20_000)]
    assert sum(seen.first(unit) for unit in hashes) >= 19_990
    assert not any(seen.first(unit) for unit in hashes)


def test_it_never_goes_blind_and_forgets_the_oldest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "_BITS", 1 << 13)
    seen = Sightings()
    found = [seen.first(name_hash(str(i))) for i in range(20_000)]
    assert sum(found[-5_000:]) > 4_500  # one filter would be full since the first 4,000
    assert not seen.first(name_hash("19999"))
    assert seen.first(name_hash("0"))

"""What is there at the start is out of the collector's sight; what comes later is not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from service.heap import settle


class Loop:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_lives_is_looked_at_no_more_and_garbage_is_gone() -> None:
    kept, garbage = Loop(), weakref.ref(Loop())
    assert any(one is kept for one in gc.get_objects())
    # Nearly: what is out of sight is still freed by its reference count, by the suite's other threads too.
    frozen = settle()
    assert frozen == pytest.approx(gc.get_freeze_count(), rel=0.01)
    assert frozen > 0
    assert garbage() is None
    assert not any(one is kept for one in gc.get_objects())


def test_what_requests_make_is_still_collected_without_being_asked_for() -> None:
    settle()
    later = weakref.ref(Loop())
    for _ in range(100):
        if later() is None:
            break
        kept = [Loop() for _ in range(gc.get_threshold()[0] + 1)]
        del kept
    assert later() is None

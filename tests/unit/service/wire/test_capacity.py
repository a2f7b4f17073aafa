"""Places: bounded in all and by peer; who waits gives way, oldest first."""

from __future__ import annotations

import resource

import pytest

from service.metrics import Metrics
from service.settings import ConnectionSettings
from service.wire import capacity
from service.wire.capacity import ENDED, Capacity, Place, affordable_connections, peer_of


class Held:
    """A connection that waits."""

    def __init__(self, made: Capacity, peer: str) -> None:
        place = made.take(peer)
        assert place is not None
        self.place: Place = place
        self.gone = self.unread = False
        made.waits(self)

    def has_unread(self) -> bool:
        return self.unread

    def give_way(self) -> None:
        self.gone = True
        self.place.leave()


def made(max_total: int = 9, max_per_peer: int = 9, afforded: int = 99) -> Capacity:
    return Capacity(ConnectionSettings(max_total=max_total, max_per_peer=max_per_peer), afforded, Metrics())


@pytest.mark.parametrize("bounds", [{"max_total": 3}, {"afforded": 3}])
def test_the_one_that_has_waited_longest_gives_way(bounds: dict[str, int]) -> None:
    room = made(**bounds)
    held = [Held(room, str(i)) for i in range(3)]
    room.waits(held[0])  # its next request is awaited as of now
    Held(room, "3")
    assert [one.gone for one in held] == [False, True, False]
    assert room.total == 3


def test_one_whose_request_has_come_does_not_give_way() -> None:
    room = made(max_total=2)
    first, second = Held(room, "a"), Held(room, "a")
    first.unread = True
    assert room.take("b") is not None
    assert (first.gone, second.gone) == (False, True)
    assert room.take("c") is None


def test_who_works_does_not_give_way() -> None:
    room = made(max_total=2)
    for one in (Held(room, "a"), Held(room, "b")):
        room.works(one)
    assert room.take("c") is None
    assert room.total == 2


def test_a_peer_at_its_bound_gives_way_to_itself_alone() -> None:
    room = made(max_per_peer=2)
    other, first, second = Held(room, "other"), Held(room, "peer"), Held(room, "peer")
    assert room.take("peer") is not None
    assert (other.gone, first.gone, second.gone) == (False, True, False)
    room.works(second)
    assert room.take("peer") is None
    assert room.take("other") is not None


def test_no_bound_by_peer_but_the_total() -> None:
    room = made(max_total=3, max_per_peer=0)
    assert all(room.take("peer") for _ in range(3))
    assert room.take("peer") is None


def test_a_place_is_left_once() -> None:
    room = made()
    place = room.take("a")
    assert place is not None
    place.leave()
    place.leave()
    assert room.total == 0


def test_ends_are_counted_from_zero() -> None:
    metrics = Metrics()
    Capacity(ConnectionSettings(), 9, metrics)
    shown = {s.labels["reason"] for s in metrics.connections_ended.collect()[0].samples if s.name.endswith("_total")}
    assert shown == set(ENDED)


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("2001:db8:0:1::2", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_whom_an_address_belongs_to(address: str, peer: str) -> None:
    assert peer_of(address) == peer


@pytest.mark.parametrize(
    ("soft", "hard", "afforded", "raised_to"),
    [
        (10_000, 10_000, 1000, None),
        (256, 10_000, 1000, 64 + 16 + 1000 + 192),
        (256, resource.RLIM_INFINITY, 1000, 64 + 16 + 1000 + 192),
        (256, 256, 88, 256),
        (80, 80, 16, 80),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000, None),
    ],
)
def test_the_limit_of_open_files_is_raised_and_then_kept(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, afforded: int, raised_to: int | None
) -> None:
    raised: list[int] = []
    monkeypatch.setattr(capacity.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(capacity.resource, "setrlimit", lambda _, limits: raised.append(limits[0]))
    assert affordable_connections(1000, spooled=192, workers=2) == afforded
    assert raised == ([] if raised_to is None else [raised_to])

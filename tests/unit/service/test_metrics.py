"""Metrics: names, bounded labels, current documentation."""

from __future__ import annotations

from pathlib import Path

from service.metrics import Metrics, metrics_markdown, route_label

ROOT = Path(__file__).parents[3]


def test_every_metric_has_the_prefix() -> None:
    names = [family.name for family in Metrics().registry.collect()]
    assert len(names) > 15
    assert all(name.startswith("cpfd_") for name in names)


def test_unknown_paths_share_one_label() -> None:
    assert route_label("/classify") == "/classify"
    assert {route_label(path) for path in ("/a", "/classify/", "/../etc")} == {"other"}


def test_registries_are_independent() -> None:
    first, second = Metrics(), Metrics()
    first.shed.labels("requests").inc()
    assert b'cpfd_shed_total{reason="requests"} 1.0' in first.exposition()
    assert b"requests" not in b"".join(x for x in second.exposition().splitlines() if x.startswith(b"cpfd_shed"))


def test_the_documentation_is_current() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == metrics_markdown(), (
        "run: python -m service.metrics --markdown > docs/metrics.md"
    )

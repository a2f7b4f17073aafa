"""The probes before a run, and the commands that need no Locust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.run import is_loopback
from loadtest.target.probe import ProbeError, closed_loop_rate, find_ids, wait_until_ready
from loadtest.traffic.corpus import Corpus, load_corpus
from tests.free_port import free_port
from tests.stub_service import stub_service


def test_a_closed_loop_estimates_the_capacity(corpus: Corpus) -> None:
    with stub_service(delay_s={"baseline": 0.1, "student": 0.1}) as stub:
        rate = closed_loop_rate([stub.url], corpus, callers=4, seconds=1.0)
    assert 10 < rate <= 40


def test_a_service_that_is_not_there_has_no_capacity(corpus: Corpus) -> None:
    with pytest.raises(ProbeError, match="is it up"):
        closed_loop_rate([f"http://127.0.0.1:{free_port()}"], corpus, callers=2, seconds=0.2)


def test_ids_are_found_by_asking() -> None:
    with stub_service() as stub:
        found = find_ids([stub.url], "student", each=8)
        assert {arm: len(ids) for arm, ids in found.items()} == {"student": 8, "baseline": 8}
        with pytest.raises(ProbeError, match="arm third"):
            find_ids([stub.url], "third", each=2, tries=10)


def test_it_waits_for_what_it_tests() -> None:
    with stub_service() as stub:
        wait_until_ready([f"{stub.url}/readyz"], 5.0)
        with pytest.raises(ProbeError, match=r"not ready within 0\.1 s"):
            wait_until_ready([f"{stub.url}/readyz", f"{stub.url}/nowhere"], 0.1, every_s=0.05)
    with pytest.raises(ProbeError, match="not ready"):
        wait_until_ready([f"http://127.0.0.1:{free_port()}/readyz"], 0.1, every_s=0.05)


def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with stub_service() as stub:
        wait_until_ready([f"{stub.url}/readyz"], 0.5, every_s=0.05)


def test_the_corpus_command_writes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["corpus", "--out", str(tmp_path / "clips"), "--sizes", "64x48", "--seconds", "0.2"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clips"], told["hostile"]) == (len(load_corpus(tmp_path / "clips").good), 3)
    assert main([*command, "--copies", "2"]) == 2
    assert "something else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:80", True),
        ("http://10.0.0.1", False),
        ("https://localhost.example", False),
        ("nonsense", False),
    ],
)
def test_what_is_this_machine(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback

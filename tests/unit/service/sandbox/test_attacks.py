"""What somebody who has taken a decode worker over gets from it: nothing but the clip that it was handed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.sandbox.protections import Protection
from tests.unit.service.sandbox.workers import HOSTILE, ask, started

Attack = Callable[..., str]


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Attack:
    """Runs one attack in a fresh worker and says what came of it."""
    monkeypatch.setattr("service.decoding.start._MODULE", HOSTILE)

    def begin(order: str, *, only: Protection | None = None, **settings: Any) -> str:
        if only is not None:
            settings["sandbox"] = {"omitted": [p for p in Protection if p not in (only, Protection.NO_NEW_PRIVS)]}
        clip = tmp_path / "order"
        clip.write_text(order)

        async def scenario() -> str:
            process = await started(settings, tmp_path)
            try:
                lacking = None if only is None else process.protections[only]
                if lacking is not None:
                    pytest.skip(f"{only} cannot be had here: {lacking}")
                answer = await ask(process, clip, settings)
                return str(answer.get("detail") or answer)
            finally:
                await process.end()

        return asyncio.run(scenario())

    return begin


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of the loopback that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("the key")
    return path


REFUSED = [
    "socket",
    "unix_socket",
    "connect 9",
    "send_datagram x",
    "read SECRET",
    "read /proc/PARENT/environ",
    "read /proc/self/environ",
    "list /",
    "stat SECRET",
    "write SECRET",
    "create NEW",
    "truncate SECRET",
    "unlink SECRET",
    "truncate_slot",
    "grow_slot",
    "memory_file",
    "signal_parent",
    "own_by_parent",
    "bound_parent",
    "executable_memory",
    "truncate_clip",
]


@pytest.mark.parametrize("order", REFUSED)
def test_what_a_library_might_try_is_refused(attack: Attack, secret: Path, order: str) -> None:
    said = attack(order.replace("SECRET", str(secret)).replace("NEW", str(secret.with_name("new"))))
    assert said == "EPERM"
    assert secret.read_text() == "the key"
    assert not secret.with_name("new").exists()


@pytest.mark.parametrize("order", ["fork", "spawn", "exec", "trace", "read_parents_memory"])
def test_what_no_library_tries_ends_the_worker(attack: Attack, order: str) -> None:
    assert attack(order) == "{'ended': 'SIGSYS'}"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 alone has a second set of calls")
def test_the_second_set_of_calls_is_no_way_around(attack: Attack) -> None:
    assert attack("x32") == "{'ended': 'SIGSYS'}"


def test_the_slots_size_is_sealed_whatever_else_is_lacking(attack: Attack) -> None:
    assert attack("truncate_slot", sandbox={"omitted": list(Protection)}) == "EPERM"


def test_the_upload_is_handed_over_for_reading(attack: Attack, tmp_path: Path) -> None:
    assert attack("write_clip") == "EBADF"
    assert (tmp_path / "order").read_text() == "write_clip"


def test_what_decoders_need_is_left(attack: Attack) -> None:
    assert attack("thread") == "done [1]"
    assert attack("abort") == "{'ended': 'SIGABRT'}"


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("read SECRET", "EACCES"),
        ("write SECRET", "EACCES"),
        ("create NEW", "EACCES"),
        ("unlink SECRET", "EACCES"),
        ("read /proc/PARENT/environ", "EACCES"),
        ("connect PORT", "EACCES"),
        ("signal_parent", "EPERM"),
        ("exec", "EACCES"),
    ],
)
def test_landlock_alone_refuses_files_connections_and_signals(
    attack: Attack, secret: Path, listener: int, order: str, said: str
) -> None:
    order = order.replace("SECRET", str(secret)).replace("NEW", str(secret.with_name("new")))
    assert attack(order.replace("PORT", str(listener)), only=Protection.LANDLOCK) == said


def test_a_network_of_its_own_reaches_nobody(attack: Attack, listener: int) -> None:
    assert attack(f"connect {listener}", only=Protection.HIDDEN) == "done None"
    assert attack(f"connect {listener}", only=Protection.NETWORK_NAMESPACE) == "ENETUNREACH"


def test_a_hidden_worker_cannot_be_looked_into(attack: Attack) -> None:
    assert attack("dumpable", only=Protection.NO_NEW_PRIVS) == "done 1"
    assert attack("dumpable", only=Protection.HIDDEN) == "done 0"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to lose")
def test_without_capabilities_root_becomes_nobody_else(attack: Attack) -> None:
    assert attack("become 65534", only=Protection.HIDDEN) == "done None"
    assert attack("become 65534", only=Protection.CAPABILITIES) == "EPERM"


def test_decord_opens_by_path_what_lies_in_the_spool_and_nothing_else(
    attack: Attack, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("decord")
    inside, outside = tmp_path / "inside", tmp_path_factory.mktemp("elsewhere") / "outside"
    for path in (inside, outside):
        path.write_text("the key")
    decord: dict[str, Any] = {"limits": {"backend": "decord"}}
    assert attack(f"read {inside}", **decord) == "done the key"
    assert attack(f"read {outside}", **decord) == "EACCES"
    assert attack("read /proc/PARENT/environ", **decord) == "EACCES"
    for order in ("write", "create", "truncate", "unlink"):
        assert attack(f"{order} {inside}", **decord) == "EPERM"


def test_a_worker_that_may_not_gain_privileges_says_so(attack: Attack) -> None:
    inherited = "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()
    assert attack("status NoNewPrivs", sandbox={"omitted": list(Protection)}) == f"done {int(inherited)}"
    assert attack("status NoNewPrivs", only=Protection.NO_NEW_PRIVS) == "done 1"

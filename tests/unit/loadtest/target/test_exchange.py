"""One message over HTTP: kept connections, hosts in turn, and who leaves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from loadtest.target.exchange import LOST, REFUSED, TIMEOUT, Exchange
from loadtest.traffic.corpus import Expect
from loadtest.traffic.mix import PATH, Kind, Message, form
from tests.free_port import free_port
from tests.stub_service import Stub, problem, stub_service

BODY, TYPE = form({"title": "cat", "video_id": "one"}, None)
MESSAGE = Message(Kind.FORM, PATH, BODY, TYPE, "one", Expect.VERDICT)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_service() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Stub]:
    with stub_service() as running:
        yield running


def exchange(*hosts: str, timeout_s: float = 5.0) -> Exchange:
    return Exchange(hosts, timeout_s=timeout_s)


def test_a_connection_is_used_again(stub: Stub) -> None:
    sender = exchange(stub.url)
    replies = [sender.send(MESSAGE) for _ in range(5)]
    sender.close()
    assert [reply.status for reply in replies] == [200] * 5
    assert stub.bodies == [BODY] * 5
    assert stub.connections == 1
    assert replies[0].headers["x-arm"] in ("baseline", "student")


def test_a_connection_that_the_host_closed_meanwhile_is_no_failure(stub: Stub) -> None:
    sender = exchange(stub.url)
    stub.script.append((200, {"Connection": "close"}, b"{}"))
    assert [sender.send(MESSAGE).status for _ in range(2)] == [200, 200]
    sender.close()
    assert stub.connections == 2


@pytest.mark.parametrize("code", ["draining", "not_ready"])
def test_a_message_that_was_turned_away_goes_to_the_next_host(stub: Stub, other: Stub, code: str) -> None:
    stub.script.append(problem(code, 503, **{"Retry-After": "1"}))
    sender = exchange(stub.url, other.url)
    replies = [sender.send(MESSAGE) for _ in range(4)]
    sender.close()
    assert [reply.status for reply in replies] == [200] * 4
    assert [reply.retries for reply in replies] == [1, 0, 0, 0]
    assert (len(stub.bodies), len(other.bodies)) == (1, 4)


def test_a_refused_connection_goes_to_the_next_host(stub: Stub) -> None:
    sender = exchange(f"http://127.0.0.1:{free_port()}", stub.url)
    assert (sender.send(MESSAGE).retries, sender.send(MESSAGE).retries) == (1, 0)
    sender.close()


def test_with_one_host_there_is_nowhere_else(stub: Stub) -> None:
    stub.script.append(problem("draining", 503, **{"Retry-After": "1"}))
    sender = exchange(stub.url)
    assert (sender.send(MESSAGE).status, sender.send(MESSAGE).status) == (503, 200)
    sender.close()
    assert exchange(f"http://127.0.0.1:{free_port()}").send(MESSAGE).fault == REFUSED


def test_overload_goes_nowhere_else(stub: Stub, other: Stub) -> None:
    stub.script.append(problem("overloaded", 429, **{"Retry-After": "1"}))
    sender = exchange(stub.url, other.url)
    assert sender.send(MESSAGE).status == 429
    sender.close()
    assert other.bodies == []


def test_what_breaks_after_it_was_sent_is_never_sent_again(stub: Stub, other: Stub) -> None:
    stub.script.append((0, {}, b""))
    sender = exchange(stub.url, other.url)
    reply = sender.send(MESSAGE)
    sender.close()
    assert (reply.fault, reply.retries, other.bodies) == (LOST, 0, [])


def test_silence_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = exchange(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.1)
        assert sender.send(MESSAGE).fault == TIMEOUT


def test_those_who_leave_are_not_waited_for() -> None:
    with stub_service(delay_s={"baseline": 1.0, "student": 1.0}) as slow:
        sender = exchange(slow.url)
        assert sender.send(replace(MESSAGE, leave_s=0.05)).left
        assert sender.send(replace(MESSAGE, send_share=0.5)).left
        assert not sender.send(replace(MESSAGE, leave_s=4.0)).left
        sender.close()
    assert len(slow.bodies) == 2

"""Before a run: is it ready, what does a closed loop manage, and which ids stick to which arm."""

from __future__ import annotations

import http.client
import random
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from urllib.parse import urlsplit

from loadtest.target.exchange import Exchange, connection_to
from loadtest.traffic.corpus import Corpus, Expect
from loadtest.traffic.mix import DEFAULT_WEIGHTS, PATH, Kind, Message, Mix, form

_WELL_FORMED = {kind: DEFAULT_WEIGHTS[kind] for kind in (Kind.FORM, Kind.RAW, Kind.TEXT)}


class ProbeError(RuntimeError):
    """The service did not answer as the run needs it to."""


def closed_loop_rate(hosts: Sequence[str], corpus: Corpus, *, callers: int, seconds: float) -> float:
    """Verdicts a second that ``callers`` callers get who each wait for theirs: an estimate of the capacity.

    Raises:
        ProbeError: fewer than one verdict for each caller.
    """
    end = time.monotonic() + seconds

    def call(seed: int) -> int:
        mix, exchange, answered = Mix(corpus, random.Random(seed), _WELL_FORMED), Exchange(hosts), 0
        while time.monotonic() < end:
            answered += exchange.send(mix.draw()).status == 200
        exchange.close()
        return answered

    began = time.monotonic()
    with ThreadPoolExecutor(callers) as pool:
        answered = sum(pool.map(call, range(callers)))
    if answered < callers:
        raise ProbeError(
            f"{', '.join(hosts)}: {answered} verdicts in {seconds:g} s: is that the service, and is it up?"
        )
    return answered / (time.monotonic() - began)


def find_ids(hosts: Sequence[str], arm: str, *, each: int = 32, tries: int = 1000) -> dict[str, list[str]]:
    """Arm -> ids that the service assigns to it, found by asking: ``arm``, and all others that answer.

    Raises:
        ProbeError: ``arm``, or every other arm, answered none of the tries.
    """
    exchange, found = Exchange(hosts), dict[str, list[str]]()
    for _ in range(tries):
        video_id = f"load-{uuid.uuid4().hex[:16]}"
        body, content_type = form({"title": "which arm", "video_id": video_id}, None)
        answering = exchange.send(Message(Kind.TEXT, PATH, body, content_type, video_id, Expect.VERDICT)).arm
        if answering and len(found.setdefault(answering, [])) < each:
            found[answering].append(video_id)
        if len(found.get(arm, [])) >= each and sum(len(ids) for name, ids in found.items() if name != arm) >= each:
            break
    exchange.close()
    if arm not in found or len(found) < 2:
        raise ProbeError(f"arm {arm} and another must answer; of {tries} ids answered: {', '.join(found) or 'none'}")
    return found


def wait_until_ready(urls: Sequence[str], seconds: float, *, every_s: float = 1.0) -> None:
    """Returns when each of ``urls`` has answered 200.

    Raises:
        ProbeError: one has not, after ``seconds``.
    """
    end = time.monotonic() + seconds
    for url in urls:
        while not is_ready(url):
            if time.monotonic() >= end:
                raise ProbeError(f"{url} was not ready within {seconds:g} s")
            time.sleep(every_s)


def is_ready(url: str) -> bool:
    """Whether the URL, such as ``http://.../readyz``, answers 200."""
    connection, parts = connection_to(url, 5.0), urlsplit(url)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

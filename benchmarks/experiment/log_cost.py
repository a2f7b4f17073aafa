"""``make bench-log``: what the decision log costs a caller, beside the same service without it, in one run.

Both services run from the start. Their capacity is that of a closed loop against the one without. Then an open loop at
a share of it goes to one after the other, round after round, each round in another order, so that a machine that slows
down midway slows all alike. The same arrivals and clips go to each. p99 over p99 comes with an interval by bootstrap
over rounds.

    python -m benchmarks.experiment.log_cost --also shadow CPFD_EXPERIMENT__SHADOW_RATE=1    another variant
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.clip import write_clip
from benchmarks.document import hand_over, when_and_where
from benchmarks.offered import Answer, Clip, Load, closed_loop, open_loop
from benchmarks.service import served

_REPLICATES = 2000
OFF, ON = "off", "on"


def _clips(folder: Path) -> list[Clip]:
    found = []
    for number, (seconds, width, height) in enumerate(((2, 320, 240), (4, 640, 360))):
        path = folder / f"{number}.mp4"
        write_clip(path, seconds=seconds, width=width, height=height, kbit_s=400)
        found.append(Clip(f"{height}p, {seconds} s", path.read_bytes()))
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio_interval(
    by_round: Sequence[Sequence[float]], base: Sequence[Sequence[float]], share: float, seed: int = 0
) -> tuple[float, float, float]:
    """A quantile of all rounds over that of the base, and its 95 % interval by bootstrap over rounds."""

    def ratio(rounds: Sequence[int]) -> float:
        ours = [value for number in rounds for value in by_round[number]]
        return quantile(ours, share) / quantile([value for number in rounds for value in base[number]], share)

    rng, numbers = random.Random(seed), range(len(base))
    drawn = [ratio(rng.choices(numbers, k=len(base))) for _ in range(_REPLICATES)]
    return ratio(numbers), quantile(drawn, 0.025), quantile(drawn, 0.975)


async def _measure(ports: Mapping[str, int], clips: Sequence[Clip], options: argparse.Namespace) -> dict[str, Any]:
    callers = 2 * len(os.sched_getaffinity(0))
    for port in ports.values():
        await closed_loop(port, clips, callers, options.warm_seconds)
    closed = await closed_loop(ports[OFF], clips, callers, options.peak_seconds)
    capacity = sum(answer.status == 200 for answer in closed) / options.peak_seconds
    rounds: dict[str, list[list[Answer]]] = {name: [] for name in ports}
    for number in range(options.rounds):
        names = list(ports)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            load = Load(
                per_s=options.load * capacity,
                seconds=options.seconds,
                tight_share=0.0,
                tight_s=lambda clip: 0.0,
                obey_share=0.0,
                seed=number,
            )
            rounds[name].append(await open_loop(ports[name], clips, load))
    return {
        "capacity_per_s": capacity,
        "variants": {name: _figures(found, rounds[OFF]) for name, found in rounds.items()},
    }


def _figures(rounds: Sequence[Sequence[Answer]], off: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    def took(of: Sequence[Sequence[Answer]]) -> list[list[float]]:
        return [[answer.took_s for answer in found if answer.status == 200] for found in of]

    everything = [value for found in took(rounds) for value in found]
    return {
        "answers": dict(Counter(answer.code for found in rounds for answer in found)),
        **{f"p{q}_ms": 1000 * quantile(everything, q / 100) for q in (50, 95, 99)},
        **{f"p{q}_over_off": ratio_interval(took(rounds), took(off), q / 100) for q in (50, 99)},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every variant."""
    with tempfile.TemporaryDirectory(dir=options.disk) as disk, ExitStack() as services:
        variants = {OFF: {}, ON: {"CPFD_LOG__DIRECTORY": f"{disk}/on"}}
        for name, *settings in options.also or ():
            given = dict(setting.split("=", 1) for setting in settings)
            variants[name] = {"CPFD_LOG__DIRECTORY": f"{disk}/{name}"} | given
        ports = {name: services.enter_context(served(Path.cwd(), settings)).port for name, settings in variants.items()}
        found = asyncio.run(_measure(ports, _clips(Path(disk)), options))
    return {
        **when_and_where(),
        "load": options.load,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "settings": {name: sorted(settings) for name, settings in variants.items()},
        **found,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['date']}; {result['machine']}; open loop at {result['load']:.0%} of {result['capacity_per_s']:.1f} "
        f"verdicts a second, {result['rounds']} rounds of {result['seconds']:g} s each, in turn. Intervals: 95 %, "
        "bootstrap over rounds.",
        "",
        "| log | answers | p50 ms | p95 ms | p99 ms | p50 over off | p99 over off |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result["variants"].items():
        answers = "; ".join(f"{count} {code}" for code, count in sorted(found["answers"].items()))
        times = " | ".join(f"{found[f'p{q}_ms']:.1f}" for q in (50, 95, 99))
        over = " | ".join("{:.3f} [{:.3f}, {:.3f}]".format(*found[f"p{q}_over_off"]) for q in (50, 99))
        lines.append(f"| {name} | {answers} | {times} | {over} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, default=0.7, help="share of the capacity")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0, help="of a variant in a round")
    parser.add_argument("--peak-seconds", type=float, default=20.0, help="of the closed loop that finds the capacity")
    parser.add_argument("--warm-seconds", type=float, default=3.0)
    parser.add_argument(
        "--disk", type=Path, help="folder on the disk that the logs are to lie on; none: the temporary one"
    )
    parser.add_argument("--also", nargs="+", action="append", metavar="NAME SETTING=VALUE", help="another variant")
    parser.add_argument("--out", type=Path, help="folder for DATE-decision-log.json and .md; none: stdout only")
    options = parser.parse_args()
    result = run(options)
    hand_over(result, "decision-log", f"# `make bench-log`\n\n{table(result)}", options.out)


if __name__ == "__main__":
    main()

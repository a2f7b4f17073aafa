"""python -m service.experiment: commands about an experiment beside the service that runs it.

``assign --config serve.yaml UNIT...`` says which arm each unit has, as the service decides it, for whoever must know it
upstream. It loads no model runtime. It reads the file alone: not what the environment changes, and of stopped arms only
what --stopped names. ``replay`` makes logged decisions again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from service.experiment.configuration import read_experiments
from service.experiment.plan import Plan, Units
from service.experiment.replay.options import REPLAY_EXAMPLE, add_replay_arguments
from service.experiment.stop_file import read_stops

EXAMPLE = """\
example:
  python -m service.experiment assign --config configs/serve.yaml clip-1 clip-2
  python -m service.experiment assign --config serve.yaml --unit account_id < accounts.txt
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m service.experiment", epilog=EXAMPLE, formatter_class=plain)
    commands = parser.add_subparsers(required=True)
    assign = commands.add_parser("assign", help="units -> arms", epilog=EXAMPLE, formatter_class=plain)
    assign.add_argument("units", nargs="*", metavar="UNIT", help="none: one a line from standard input")
    assign.add_argument("--config", type=Path, required=True, help="the service's YAML file")
    assign.add_argument("--unit", choices=("video_id", "account_id", "content"), default="video_id")
    assign.add_argument("--video-id", help="of all of them, where --unit is another")
    assign.add_argument("--account-id", help="of all of them, where --unit is another")
    assign.add_argument("--at", type=_time, default=None, help="ISO time with its offset; default: now")
    assign.add_argument("--stopped", type=Path, help="the service's experiment.stop_file")
    assign.set_defaults(run=_assign)
    text = "logged decisions and the media -> whether the scores come out again"
    again = commands.add_parser("replay", help=text, description=text, epilog=REPLAY_EXAMPLE, formatter_class=plain)
    add_replay_arguments(again)
    again.set_defaults(run=_replay)
    args = parser.parse_args(arguments)
    code: int = args.run(args)
    return code


def _replay(args: argparse.Namespace) -> int:
    from service.experiment.replay.command import run  # the model runtime, which who assigns does not need

    return run(args)


def _assign(args: argparse.Namespace) -> int:
    """Writes a line of JSON for each unit."""
    try:
        plan = Plan.of(read_experiments(args.config))
        stopped = {(stop.experiment, stop.arm) for stop in read_stops(args.stopped)} if args.stopped else set()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    shared = Units("", args.video_id, args.account_id)
    at = args.at or datetime.now(UTC)
    for unit in args.units or _lines():
        found = plan.assign(replace(shared, **{args.unit: unit}), at, stopped)
        line = {"unit": unit, "experiment": found.experiment, "arm": found.arm, "holdout": found.holdout}
        sys.stdout.write(json.dumps(line | {"unit_hash": found.unit_hash, "weights": found.weights}) + "\n")
    return 0


def _lines() -> Iterator[str]:
    yield from (line.rstrip("\n") for line in sys.stdin)


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError("the time needs its offset from UTC: 2026-12-01T00:00:00Z")
    return at


if __name__ == "__main__":
    sys.exit(main())

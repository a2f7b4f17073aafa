"""python -m service.experiment.log: what becomes of a decision log beside the service that writes it.

Compaction and shipping need the extra 'log'. Results are JSON on stdout. Exit 0: done; 1: not, or not all; 2: bad
usage.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.experiment.log.files import CompactionRunning

_EXAMPLES = """\
examples:
  python -m service.experiment.log compact --directory /var/log/cpfd --keep-days 90
  python -m service.experiment.log ship --directory /var/log/cpfd --to s3://bucket/cpfd
  python -m service.experiment.log tend --directory /var/log/cpfd --every 60 --to s3://bucket/cpfd --keep-days 7
  python -m service.experiment.log import-feedback labels.csv --directory /var/log/cpfd
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (CompactionRunning, ImportError, OSError, ValueError, sqlite3.Error) as error:
        sys.stderr.write(f"{' '.join(str(error).split()) or type(error).__name__}\n")
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.experiment.log",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--directory", type=Path, required=True, help="of the log: the service's log.directory")
        made.set_defaults(run=run)
        return made

    kept = command("compact", _compact, "closed SQLite files -> Parquet; and what is too old goes")
    _add_retention(kept)
    kept.add_argument("--only-shipped", action="store_true", help="what is too old goes only if it was shipped")
    command("ship", _ship, "Parquet -> an object store").add_argument(
        "--to", required=True, metavar="URL", help="as fsspec has them: s3://bucket/prefix, file:///archive"
    )
    tend = command("tend", _tend, "compacts, and ships, again and again; once more when it is told to end")
    _add_retention(tend)
    tend.add_argument("--every", type=float, default=60.0, metavar="SECONDS")
    tend.add_argument("--to", metavar="URL", help="none: nothing is shipped")
    tend.add_argument("--once", action="store_true", help="one pass, for whoever calls again by himself")
    labels = command("import-feedback", _import, "labels in bulk: a .csv, .jsonl or .parquet file -> the log")
    labels.add_argument("file", type=Path)
    return parser


def _add_retention(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep-days", type=int, metavar="N", help="days of Parquet that stay; none: all")


def _say(result: Any) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def _compact(options: argparse.Namespace) -> int:
    from service.experiment.log.compaction import compact

    done = compact(options.directory, keep_days=options.keep_days, only_shipped=options.only_shipped)
    _say(asdict(done))
    return int(bool(done.unreadable))


def _ship(options: argparse.Namespace) -> int:
    from service.experiment.log.shipping import ship

    done = ship(options.directory, options.to)
    _say(asdict(done))
    return int(bool(done.failed))


def _import(options: argparse.Namespace) -> int:
    from service.experiment.log.feedback_file import import_feedback

    done = import_feedback(options.file, options.directory)
    _say(asdict(done))
    return int(bool(done.faults))


def _tend(options: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT. A pass that fails is said and made again: nothing else looks after the log."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    options.only_shipped = options.to is not None
    failed = False
    while True:
        last = options.once or ended.is_set()
        failed = False
        for step in (_compact, *((_ship,) if options.to else ())):
            try:
                failed |= bool(step(options))
            except (CompactionRunning, OSError, sqlite3.Error) as error:
                sys.stderr.write(f"{error}\n")
                failed = True
        if last:
            return int(failed)
        ended.wait(options.every)


if __name__ == "__main__":
    sys.exit(main())

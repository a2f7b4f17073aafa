"""Samples, runs and judges: ``python -m benchmarks.mutants --out docs/benchmarks --minutes 60``."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.document import today
from benchmarks.mutants.listing import Mutant
from benchmarks.mutants.packages import PACKAGES_FILE, read_packages
from benchmarks.mutants.results import overall, package_result, page, read_equivalent
from benchmarks.mutants.scratch import Limits, MutmutFailed, Scratch, deadline_in

ROOT = Path(__file__).resolve().parents[2]


def sample(listed: Sequence[Mutant], size: int, seed: str) -> list[Mutant]:
    """The first ``size`` mutants of substance in an order drawn with the seed."""
    order = list(listed)
    random.Random(seed).shuffle(order)
    return [mutant for mutant in order if mutant.kind == "substance"][:size]


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.mutants")
    parser.add_argument("--out", type=Path, required=True, help="folder of the dated documents")
    parser.add_argument("--sample", type=int, default=30, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=60.0, help="in all; the next run goes on from there")
    parser.add_argument("--limit-seconds", type=float, default=30.0, help="of a mutant, beside its tests' own time")
    parser.add_argument("--only", nargs="*", help="packages; all by default")
    parser.add_argument("--root", type=Path, default=ROOT, help="the working tree whose code and tests are tried")
    parser.add_argument("--packages", type=Path, default=PACKAGES_FILE, help="the packages of that tree")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".cache" / "mutants", help="kept between runs")
    parser.add_argument("--before", type=Path, help="JSON of an earlier run to stand beside this one")
    parser.add_argument("--name", default="mutants", help="of the documents, after the date")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Runs what is left of the sample and writes the two documents."""
    options = arguments(given)
    packages = read_packages(options.packages)
    unknown = sorted(set(options.only or ()) - set(packages))
    if unknown:
        sys.exit(f"no package {unknown[0]}; there are {', '.join(packages)}")
    end, equivalent = deadline_in(options.minutes), read_equivalent()
    found: dict[str, Any] = {}
    for name in options.only or packages:
        limits = Limits(constant_s=options.limit_seconds)
        scratch = Scratch(options.scratch.resolve() / name, options.root.resolve(), packages[name], limits)
        listed = scratch.mutants()
        chosen = sample(listed, options.sample, f"{options.seed}:{name}")
        try:
            scratch.run(chosen, end - time.monotonic())
        except MutmutFailed as error:
            print(f"{name}: its tests fail without a mutant:\n{error}", file=sys.stderr)  # noqa: T201
            continue
        found[name] = package_result(packages[name], listed, chosen, scratch.outcomes(chosen), equivalent)
        print(f"{name}: {found[name]['outcomes']}, score {found[name]['score']}", file=sys.stderr)  # noqa: T201
    _write(options, found)
    if len(found) < len(options.only or packages):
        sys.exit(1)


def _write(options: argparse.Namespace, found: dict[str, Any]) -> None:
    date = today()
    revision = subprocess.run(
        ["git", "-C", str(options.root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    document = {
        "date": date,
        "command": f"python -m benchmarks.mutants --sample {options.sample} --seed {options.seed}",
        "revision": revision,
        "mutmut": metadata.version("mutmut"),
        "seed": options.seed,
        "sample": options.sample,
        "score": overall(found),
        "packages": found,
    }
    before = None
    if options.before is not None:
        before = json.loads(options.before.read_text())
        before["words"] = (
            f"revision `{before['revision'][:12]}`, the same seed and size of sample, its own code and tests."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{date}-{options.name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(document, before))
    json.dump({"score": document["score"], "document": str(path)}, sys.stdout)
    print()  # noqa: T201


if __name__ == "__main__":
    main()

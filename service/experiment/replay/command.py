"""python -m service.experiment replay: for audits and appeals. Exit 0: every decision came out again; 1: not all."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from contract.decision_log import OK, Decision, Exposure
from service.errors import StartError
from service.experiment.log.reading import read_records
from service.experiment.replay.evidence import Bundles, Lacking, Media, Texts, gather
from service.experiment.replay.reenactment import GOOD, Finding, Reenactment
from service.settings import Settings, read_settings

MOST_LISTED = 1000


@dataclass
class Replayed:
    """What a replay found.

    Attributes:
        decisions: verdicts that were looked at.
        outcomes: outcome -> how many.
        worst_gap: between a logged probability and the one that came out now.
        refused_bundles: directory -> why it is no bundle.
        differing: the decisions that did not come out again: id, arm, outcome, detail.
    """

    decisions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    worst_gap: float = 0.0
    refused_bundles: dict[str, str] = field(default_factory=dict)
    differing: list[dict[str, str]] = field(default_factory=list)

    def add(self, decision: Decision, finding: Finding) -> None:
        self.decisions += 1
        self.outcomes[finding.outcome] += 1
        self.worst_gap = max(self.worst_gap, finding.gap or 0.0)
        if finding.outcome not in GOOD and len(self.differing) < MOST_LISTED:
            named = {"decision_id": decision.decision_id, "arm": decision.arm}
            self.differing.append(named | {"outcome": finding.outcome, "detail": finding.detail})

    @property
    def good(self) -> bool:
        return set(self.outcomes) <= GOOD and self.decisions > 0


async def replay(options: argparse.Namespace, settings: Settings) -> Replayed:
    """The findings on the log's verdicts.

    Args:
        options: as the command has them.
        settings: the decoder, its limits, and how models are loaded.

    Raises:
        StartError: a model cannot be loaded.
        OSError, ValueError, ImportError, sqlite3.Error: the log or the texts cannot be read.
    """
    bundles, media, texts = Bundles(options.bundle), Media(options.media), Texts(options.texts)
    exposures = {record.decision_id: record for record in read_records(options.log, Exposure)}
    done = Replayed(refused_bundles=bundles.refused)
    shapes = [math.prod(bundle.manifest.input_spec.frames_shape) for bundle in bundles.by_digest.values()]
    async with Reenactment(settings.decode, settings.lanes, max(shapes, default=1), options.epsilon) as again:
        for decision in read_records(options.log, Decision):
            wanted = not options.decision or decision.decision_id in options.decision
            if decision.code != OK or not wanted:
                continue
            if done.decisions == options.limit:
                break
            try:
                evidence = gather(decision, exposures.get(decision.decision_id), bundles, media, texts)
                finding = await again.repeat(decision, evidence)
            except Lacking as lacking:
                finding = Finding(lacking.why, detail=lacking.detail)
            done.add(decision, finding)
            _progress(done.decisions)
    return done


def run(options: argparse.Namespace) -> int:
    """Writes the findings as JSON; returns the exit code."""
    try:
        done = asyncio.run(replay(options, read_settings()))
    except StartError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    except (OSError, ValueError, ImportError, sqlite3.Error) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    epsilon = "as each bundle says" if options.epsilon is None else options.epsilon
    said: dict[str, Any] = {"good": done.good, "epsilon": epsilon} | vars(done)
    sys.stdout.write(json.dumps(said, indent=1) + "\n")
    return int(not done.good)


def _progress(count: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{count} decisions")

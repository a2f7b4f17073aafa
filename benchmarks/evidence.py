"""Do the moments that a verdict points at matter? ``python -m benchmarks.evidence --manifest M --runs R``.

On held-out clips of every trial, the moment with the largest share of the flag is masked (its statistics become the
mean of the clip's other moments), and so is one drawn at random. What is compared is how far either moves the task's
score: if the evidence means anything, the first moves it more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy.stats import wilcoxon

from contract.decision import Modality, TaskSpec
from contract.model_graphs import moment_scores
from training.atomic_write import write_json
from training.data.manifest import Manifest
from training.data.manifest_io import read_manifest
from training.experiment.plan import Trial
from training.experiment.run import TRUNK_FEATURES_FILE
from training.fitting.checkpoint import read_checkpoint
from training.fitting.trunk_features import read_record, xvlm_of
from training.models.moment_xvlm import MomentXVLM
from training.report.build import read_plan


def main(
    manifest: Annotated[Path, typer.Option(help="The runs' manifest.")],
    runs: Annotated[Path, typer.Option(help="The folder that `run` wrote.")],
    method: Annotated[str, typer.Option(help="Whose checkpoints are looked at.")] = "cpfd",
    out: Annotated[Path | None, typer.Option(help="A JSON file for the result.")] = None,
) -> None:
    """Prints, for each task of clips, how far masking moves its score."""
    rows = read_manifest(manifest)
    document = {
        task.name: _task(rows, runs, method, task) for task in rows.tasks if task.modalities == (Modality.VIDEO,)
    }
    if out is not None:
        write_json(out, document)
    typer.echo(document)


def _task(manifest: Manifest, runs: Path, method: str, task: TaskSpec) -> dict[str, Any]:
    moved = [_trial(manifest, runs, method, task, trial) for trial in read_plan(runs, manifest).trials]
    top, drawn = (np.concatenate([one[i] for one in moved]) for i in (0, 1))
    return {
        "clips": len(top),
        "moved_by_the_strongest": float(top.mean()),
        "moved_by_a_random_one": float(drawn.mean()),
        "share_of_clips_where_the_strongest_moves_more": float((top > drawn).mean()),
        "p_value_wilcoxon_one_sided": float(wilcoxon(top, drawn, alternative="greater").pvalue),
    }


@torch.no_grad()
def _trial(manifest: Manifest, runs: Path, method: str, task: TaskSpec, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """(N,) twice: how far the flag's score moves, of the held-out clips of one trial."""
    model = xvlm_of(read_checkpoint(runs / trial.name / method)[0])
    clips, _ = read_record(runs / TRUNK_FEATURES_FILE)
    if model is None or clips is None:
        raise typer.BadParameter("this run has no frozen trunk over moments", param_hint="--runs")
    rng = np.random.default_rng(trial.seed)
    moved: list[tuple[float, float]] = []
    for row in manifest.split_rows(trial.test_fold)["test"]:
        if task.name not in row.labels or row.id not in clips.files:
            continue
        features_MF = torch.from_numpy(clips.features(row.id, 0))
        shares_M = _shares(model, features_MF, task)
        strongest, drawn = int(np.argmax(np.abs(shares_M))), int(rng.integers(len(shares_M)))
        scores = [_shares(model, _masked(features_MF, moment), task).sum() for moment in (strongest, drawn)]
        moved.append((abs(shares_M.sum() - scores[0]), abs(shares_M.sum() - scores[1])))
    return np.asarray([m[0] for m in moved]), np.asarray([m[1] for m in moved])


def _shares(model: MomentXVLM, features_MF: torch.Tensor, task: TaskSpec) -> np.ndarray:
    return moment_scores(model.evidence(features_MF[None])[task.name][0].numpy(), task, 1.0)


def _masked(features_MF: torch.Tensor, moment: int) -> torch.Tensor:
    others = torch.cat([features_MF[:moment], features_MF[moment + 1 :]]).mean(dim=0)
    masked = features_MF.clone()
    masked[moment] = others
    return masked


if __name__ == "__main__":
    typer.run(main)

"""Do the moments that a verdict points at matter? ``python -m benchmarks.evidence --manifest M --runs R``.

On held-out clips of every trial, the moment with the largest share of the flag is masked (its statistics become the
mean of the clip's other moments), and so is one drawn at random. What is compared is how far either moves the task's
score: if the evidence means anything, the first moves it more. A clip that is alike throughout has nothing to point at,
so a task that looks for the strongest moment is also asked about long clips of which two seconds alone are positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from contract.decision import Modality, TaskSpec
from contract.model_graphs import moment_scores
from recipes.long_clips.composition import LongClipSettings
from recipes.long_clips.scores import composed
from training.atomic_write import write_json
from training.config import MomentVisionConfig
from training.data.manifest import Manifest
from training.data.manifest_io import read_manifest
from training.experiment.plan import Trial, read_plan
from training.experiment.run import TRUNK_FEATURES_FILE
from training.fitting.checkpoint import read_checkpoint
from training.fitting.trunk_features import read_record, xvlm_of
from training.models.moment_xvlm import MomentXVLM

Moved = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(N,) twice: how far masking the strongest moment and a random one moves the flag's score."""


def main(
    manifest: Annotated[Path, typer.Option(help="The runs' manifest.")],
    runs: Annotated[Path, typer.Option(help="The folder that `run` wrote.")],
    method: Annotated[str, typer.Option(help="Whose checkpoints are looked at.")] = "cpfd",
    cache: Annotated[Path, typer.Option(help="Where the trunk's output is kept.")] = Path(".cache/frames"),
    out: Annotated[Path | None, typer.Option(help="A JSON file for the result.")] = None,
) -> None:
    """Prints, for each task of clips, how far masking moves its score."""
    rows = read_manifest(manifest)
    trials = read_plan(runs, rows).trials
    document = {}
    for task in rows.tasks:
        if task.modalities == (Modality.VIDEO,):
            document[task.name] = _compared([_trial(rows, runs, method, task, trial) for trial in trials])
            if _looks_for_the_strongest(runs / trials[0].name / method, task):
                moved = [_long_trial(rows, runs, method, task, trial, cache) for trial in trials]
                document[f"{task.name}, long clips"] = _compared(moved)
    if out is not None:
        write_json(out, document)
    typer.echo(document)


def _looks_for_the_strongest(home: Path, task: TaskSpec) -> bool:
    vision = read_checkpoint(home)[1].config.model.vision
    return isinstance(vision, MomentVisionConfig) and vision.task_pooling.get(task.name) == "strongest"


def _compared(moved: Sequence[Moved]) -> dict[str, Any]:
    top, drawn = (np.concatenate([one[i] for one in moved]) for i in (0, 1))
    return {
        "clips": len(top),
        "moved_by_the_strongest": float(top.mean()),
        "moved_by_a_random_one": float(drawn.mean()),
        "share_of_clips_where_the_strongest_moves_more": float((top > drawn).mean()),
        "p_value_wilcoxon_one_sided": float(wilcoxon(top, drawn, alternative="greater").pvalue),
    }


def _trial(manifest: Manifest, runs: Path, method: str, task: TaskSpec, trial: Trial) -> Moved:
    """Of the held-out clips of one trial."""
    model = _student(runs / trial.name / method)
    clips, _ = read_record(runs / TRUNK_FEATURES_FILE)
    if clips is None:
        raise typer.BadParameter("this run has no frozen trunk over moments", param_hint="--runs")
    rows = [row for row in manifest.split_rows(trial.test_fold)["test"] if task.name in row.labels]
    return _moved(model, (clips.features(row.id, 0) for row in rows if row.id in clips.files), task, trial.seed)


def _long_trial(manifest: Manifest, runs: Path, method: str, task: TaskSpec, trial: Trial, cache: Path) -> Moved:
    """Of long clips with a positive scene of two seconds, composed of the same held-out clips."""
    home = runs / trial.name / method
    model, config = _student(home), read_checkpoint(home)[1].config
    settings = LongClipSettings(draws=2)
    clips, features_NMF = composed(manifest, trial, task, settings, model, config, cache, "test")
    wanted = [features_MF for clip, features_MF in zip(clips, features_NMF, strict=True) if clip.positive]
    return _moved(model, wanted, task, trial.seed)


def _student(home: Path) -> MomentXVLM:
    model = xvlm_of(read_checkpoint(home)[0])
    if model is None:
        raise typer.BadParameter("this run has no model over moments", param_hint="--runs")
    return model.eval()


@torch.no_grad()
def _moved(model: MomentXVLM, clips: Iterable[NDArray[Any]], task: TaskSpec, seed: int) -> Moved:
    """How far either mask moves the flag's score, clip by clip."""
    rng = np.random.default_rng(seed)
    moved: list[tuple[float, float]] = []
    for clip_MF in clips:
        features_MF = torch.from_numpy(clip_MF).float()
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

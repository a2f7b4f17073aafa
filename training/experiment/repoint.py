"""Other operating points for a finished experiment: thresholds are fitted anew, and nothing is trained.

    <out>/seed0-fold0/cpfd/policy.json     on what this checkpoint said of its validation rows
    <out>/final/cpfd/policy.json           on what the trials' checkpoints said of theirs

Checkpoints stay what they are, as do soft targets and predictions, which name them. Report and export read the policy
that lies beside a card in place of the card's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from contract.decision import DecisionPolicy, OperatingPoint
from training.atomic_write import write_json
from training.data.manifest import Manifest
from training.experiment.plan import FINAL_FOLDER, ExperimentPlan
from training.experiment.predictions import VALIDATION_PREDICTIONS_FILE, policy_of, require_stored
from training.experiment.trial_scores import TEACHER
from training.fitting.checkpoint import CARD_FILE, POLICY_FILE, LaterPolicy, read_card, read_policy

Thresholds = dict[str, dict[str, float]]
"""Task -> label, or ``flag`` -> threshold."""


def repoint(
    manifest: Manifest, plan: ExperimentPlan, out: Path, points: Mapping[str, OperatingPoint]
) -> dict[str, Thresholds]:
    """Writes a policy beside every checkpoint that is judged or served, in place of an earlier one.

    Args:
        manifest: of the experiment.
        plan: of the experiment, all of whose trials are finished.
        out: its folder.
        points: task -> what its threshold is chosen for; what the preset says where nothing is said.

    Returns:
        Checkpoint, as a path below ``out`` -> its thresholds.

    Raises:
        ValueError: a task is none of the manifest's.
        FileNotFoundError, CheckpointError: a trial is not finished.
        PredictionsError: its predictions are of another checkpoint.
    """
    unknown = sorted(set(points) - {task.name for task in manifest.tasks})
    if unknown:
        raise ValueError(f"no task {unknown[0]!r}; there are: {', '.join(task.name for task in manifest.tasks)}")
    wanted = {**plan.config.operating_points, **points}
    found: dict[Path, DecisionPolicy] = {}
    for directory, said in judged_checkpoints(plan, out).items():
        for path in said:
            require_stored(path)
        found[directory] = policy_of(said, manifest, wanted)
    for directory, policy in found.items():
        later = LaterPolicy(checkpoint=read_card(directory).digest(), policy=policy)
        write_json(directory / POLICY_FILE, later.model_dump(mode="json"))
    return _thresholds(out, found)


def point_back(plan: ExperimentPlan, out: Path) -> dict[str, Thresholds]:
    """Removes what ``repoint`` wrote: the thresholds are again those of the training, which are returned."""
    directories = judged_checkpoints(plan, out)
    for directory in directories:
        (directory / POLICY_FILE).unlink(missing_ok=True)
    return _thresholds(out, {directory: read_policy(directory) for directory in directories})


def judged_checkpoints(plan: ExperimentPlan, out: Path) -> dict[Path, list[Path]]:
    """The checkpoints that are judged or served, and the validation predictions that their thresholds are fitted on."""
    found: dict[Path, list[Path]] = {}
    for name in (TEACHER, *plan.methods):
        homes = [out / trial.name / name for trial in plan.trials]
        found |= {home: [home / VALIDATION_PREDICTIONS_FILE] for home in homes}
        final = out / FINAL_FOLDER / name
        if (final / CARD_FILE).exists():
            found[final] = [home / VALIDATION_PREDICTIONS_FILE for home in homes]
    return found


def _thresholds(out: Path, policies: Mapping[Path, DecisionPolicy]) -> dict[str, Thresholds]:
    return {
        str(directory.relative_to(out)): {name: dict(task.thresholds) for name, task in policy.tasks.items()}
        for directory, policy in policies.items()
    }

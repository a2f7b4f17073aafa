"""Which experiment of the log is looked at, and which of its arms is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.errors import UnknownArm, UnknownExperiment
from analysis.log.database import Database
from analysis.question import Question

_CONTROL_NAMES = ("baseline", "control")


@dataclass(frozen=True)
class Arms:
    """The comparison, by name.

    Attributes:
        experiment: its name.
        control: the arm that serves today.
        treatment: the arm that may replace it.
        every: all arms that units were given to or that a share was planned for, in the order of their names.
    """

    experiment: str
    control: str
    treatment: str
    every: tuple[str, ...]


def choose_arms(database: Database, question: Question) -> Arms:
    """The experiment and its arms.

    Raises:
        UnknownExperiment, UnknownArm: the log does not hold what is asked for, or more than can be chosen from.
    """
    experiments = _names(database, "SELECT DISTINCT experiment FROM exposures ORDER BY 1", [])
    if not experiments:
        raise UnknownExperiment("the log holds no exposure")
    experiment = question.experiment or experiments[0]
    if experiment not in experiments or (question.experiment is None and len(experiments) > 1):
        raise UnknownExperiment(f"say which experiment: --experiment {' or '.join(experiments)}")
    query = "SELECT DISTINCT arm FROM exposures WHERE experiment = ? AND NOT forced AND NOT holdout ORDER BY 1"
    met = _names(database, query, [experiment])
    arms = sorted({*met, *question.shares})
    if question.shares and not any(question.shares.values()):
        raise UnknownArm("--shares: every weight is 0")
    if len(arms) < 2:
        raise UnknownArm(f"experiment {experiment}: one arm or none met units; a comparison needs two")
    if unplanned := [arm for arm in met if question.shares and arm not in question.shares]:
        raise UnknownArm(f"--shares gives no weight to the arm {unplanned[0]}")
    control = question.control or _only([a for a in arms if any(n in a for n in _CONTROL_NAMES)], arms, "--control")
    _require(control, arms, "--control")
    treatment = question.treatment or _only([arm for arm in arms if arm != control], arms, "--treatment")
    _require(treatment, arms, "--treatment")
    if control == treatment:
        raise UnknownArm(f"control and treatment are both {control}")
    return Arms(experiment, control, treatment, tuple(arms))


def _only(candidates: Sequence[str], arms: Sequence[str], option: str) -> str:
    if len(candidates) != 1:
        raise UnknownArm(f"say which arm: {option} {' or '.join(arms)}")
    return candidates[0]


def _require(arm: str, arms: Sequence[str], option: str) -> None:
    if arm not in arms:
        raise UnknownArm(f"{option} {arm}: the experiment's arms are {', '.join(arms)}")


def _names(database: Database, query: str, values: list[str]) -> list[str]:
    return [str(row[0]) for row in database.execute(query, values).fetchall()]

"""The commands of training, in the order in which a run needs them: ``python -m training --help``.

Results are JSON on stdout, logs and progress on stderr. Exit 0 done, 1 failed, 2 bad usage.
"""

from __future__ import annotations

import logging
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from contract.errors import ContractError
from training.config import faults_in
from training.errors import TrainingError

_EXPECTED = (TrainingError, BrokenProcessPool, ContractError, OSError, ValueError)


@dataclass(frozen=True)
class _Command:
    """A command that is not imported yet; ``summary`` is the first sentence of its function's docstring."""

    module: str
    function: str
    summary: str


_MANIFESTS, _EXPERIMENTS = "training.commands.manifests", "training.commands.experiments"
COMMANDS: Final = {
    "build-manifest": _Command(
        "recipes.demonstration.command", "build_manifest", "Builds the default four-task manifest"
    ),
    "from-csv": _Command(
        "training.commands.own_data", "from_csv", "Makes a manifest of a CSV by the names of its columns"
    ),
    "make-synthetic": _Command(_MANIFESTS, "make_synthetic", "Generates small clips, titles and privileged features"),
    "validate": _Command(_MANIFESTS, "validate_manifest", "Names the file, row and column of every fault"),
    "leakage": _Command(_MANIFESTS, "leakage", "Ranks privileged features by how well each alone tells the flag"),
    "privileged-embeddings": _Command(
        "training.commands.embeddings",
        "privileged_embeddings",
        "Runs a costly encoder over every clip and writes a manifest with its embeddings as a privileged group",
    ),
    "pack": _Command(_MANIFESTS, "pack", "Decodes every clip once and writes rows and frames as shards"),
    "run": _Command(_EXPERIMENTS, "run", "Trains the teachers that the methods need, and a student by each method"),
    "final": _Command(
        _EXPERIMENTS, "final", "Trains the recipe of a finished experiment once more, on the rows of every fold"
    ),
    "repoint": _Command(
        _EXPERIMENTS, "repoint", "Fits the thresholds of a finished experiment anew for other operating points"
    ),
    "fusion": _Command(_EXPERIMENTS, "fusion", "Trains a teacher of each fusion on every trial and compares them"),
    "tune": _Command("training.commands.tuning", "tune", "Tries settings on validation rows and writes the best"),
    "report": _Command(_EXPERIMENTS, "report", "Writes report.json, report.md and report.html"),
    "long-clips": _Command(
        "recipes.long_clips.command",
        "long_clips",
        "Composes long clips of each fold's own short ones and says whether students find and point at what is sought",
    ),
    "ablation": _Command(
        "recipes.ablation.command",
        "ablation",
        "Trains every row of the table of settings and writes ablation.json and ablation.md",
    ),
    "synthetic-benchmark": _Command(
        "recipes.synthetic_benchmark.command", "synthetic_benchmark", "Checks every method where the answer is known"
    ),
    "benchmark": _Command(
        "recipes.benchmark.command", "benchmark", "Trains all methods on all tasks and says what can be believed"
    ),
}


class LazyCommands(TyperGroup):
    """Lists the commands without importing them: torch and transformers take seconds to load."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list of commands shows."""
        command = COMMANDS.get(cmd_name)
        return None if command is None else typer.core.TyperCommand(cmd_name, help=f"{command.summary}.")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was called, imported."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None or name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """The command of that name with all its options; this imports what it needs."""
    command = COMMANDS[name]
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name)(getattr(import_module(command.module), command.function))
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


@app.callback()
def _commands() -> None:
    """Makes the app a group, also while no command is imported."""


def main() -> None:
    """Runs a command; an expected failure is one line on stderr and exit 1."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        app()
    except _EXPECTED as error:
        message = faults_in(error) if isinstance(error, ValidationError) else error
        logging.getLogger("training").error("%s", message)
        raise SystemExit(1) from error
    finally:
        if processes := sys.modules.get("training.fitting.processes"):
            processes.close()


if __name__ == "__main__":
    main()

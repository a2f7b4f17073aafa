"""A copy of the tracked files in which mutmut mutates one package and runs its tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.mutants.listing import Mutant
from benchmarks.mutants.packages import Package

_CODE = ("contract", "service", "training", "model_export", "loadtest", "recipes", "benchmarks")
_READ = ("configs", "bundles", "tests")
_COPIED = (*_CODE, *_READ)
"""Folders of the repository that tests of any package import or read."""
_HOME = Path(__file__).resolve().parents[2]
Outcome = Literal["killed", "timeout", "survived", "no_tests", "not_run"]
_OUTCOMES: dict[int | None, Outcome] = {None: "not_run", 0: "survived", 5: "no_tests", 33: "no_tests"}
_TIMEOUTS = frozenset({24, -24, 36, 152, 255, -9})
"""Exit codes of a mutant that ran out of time, by the clock or the processor."""


@dataclass(frozen=True)
class Limits:
    """How long a mutant may take.

    Attributes:
        constant_s: what every mutant is given, and its tests' setup with it.
        multiplier: how many times its tests' own time, and the constant.
    """

    constant_s: float = 30.0
    multiplier: float = 3.0


class MutmutFailed(Exception):
    """mutmut did not get as far as the mutants: the tests fail without any. The message holds its last lines."""


class Scratch:
    """A folder that is kept between runs, so that a run goes on where the last one ended.

    Where the repository has changed since, files that differ are copied anew, mutants of changed functions are run
    again, and so are those that no test had noticed. One that was killed stays killed: a new folder knows nothing.

    Args:
        folder: made if missing.
        root: the repository.
        package: what is mutated.
        limits: of each mutant.
    """

    def __init__(self, folder: Path, root: Path, package: Package, limits: Limits) -> None:
        self.folder = folder
        self.files = package.files(root)
        self.changed = self._copy(root, _section(self.files, package.tests, limits))

    def mutants(self) -> list[Mutant]:
        """Every mutant of the package, in the order of their names."""
        # -P: this tree's listing, also where the folder is a copy of an older tree.
        command = [sys.executable, "-P", "-m", "benchmarks.mutants.listing", *self.files]
        environment = os.environ | {"PYTHONPATH": str(_HOME)}
        listed = subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True)
        found = [Mutant(**one | {"diff": tuple(one["diff"])}) for one in json.loads(listed.stdout)]
        return sorted(found, key=lambda mutant: mutant.name)

    def run(self, chosen: Sequence[Mutant], seconds: float) -> None:
        """Runs those that have no outcome yet, or none that still holds, for at most so many seconds.

        Raises:
            MutmutFailed: the tests of the package fail without a mutant.
        """
        outcomes = self.outcomes(chosen)
        open_ones = ("not_run", "survived", "no_tests") if self.changed else ("not_run",)
        waiting = [mutant.name for mutant in chosen if outcomes[mutant.name] in open_ones]
        if not waiting or seconds <= 0:
            return
        command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1", *waiting]
        # Threads of a numerical library do not survive a fork; with one thread there are none to lose.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        log = self.folder / "mutmut.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return
            finally:
                _end(process)
        if process.returncode != 0:
            raise MutmutFailed("\n".join(log.read_text(errors="replace").splitlines()[-40:]))

    def outcomes(self, chosen: Sequence[Mutant]) -> dict[str, Outcome]:
        """Mutant's name -> what became of it."""
        codes: dict[str, int | None] = {}
        for file in {mutant.file for mutant in chosen}:
            meta = self.folder / "mutants" / f"{file}.meta"
            if meta.exists():
                codes |= json.loads(meta.read_text())["exit_code_by_key"]
        return {mutant.name: outcome_of(codes.get(mutant.name)) for mutant in chosen}

    def _copy(self, root: Path, section: str) -> bool:
        """Brings the folder up to date; whether anything in it changed."""
        command = ["git", "-C", str(root), "ls-files", *_COPIED]
        tracked = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        wanted = {name: (root / name).read_bytes() for name in tracked if (root / name).is_file()}
        wanted["pyproject.toml"] = (root / "pyproject.toml").read_bytes() + section.encode()
        held = {path.relative_to(self.folder).as_posix() for path in self.folder.glob("*/**/*") if path.is_file()}
        stale = {name for name in held - set(wanted) if name.partition("/")[0] in _COPIED}
        differ = [name for name, data in wanted.items() if not _holds(self.folder / name, data)]
        for name in stale:
            (self.folder / name).unlink()
        for name in differ:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(wanted[name])
        if stale or differ:  # which test reaches what has to be found out anew
            shutil.rmtree(self.folder / "mutants" / "tests", ignore_errors=True)
            (self.folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
        return bool(stale or differ)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def outcome_of(code: int | None) -> Outcome:
    """What an exit code of mutmut's says. Whatever is not a pass or a timeout was noticed."""
    return "timeout" if code in _TIMEOUTS else _OUTCOMES.get(code, "killed")


def _section(files: Sequence[str], tests: Sequence[str], limits: Limits) -> str:
    """Settings of mutmut, as the end of a ``pyproject.toml``."""
    settings = {
        "source_paths": list(_CODE),
        "only_mutate": list(files),
        "also_copy": list(_READ),
        "pytest_add_cli_args_test_selection": list(tests),
        "timeout_constant": limits.constant_s,
        "timeout_multiplier": limits.multiplier,
    }
    return "\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends mutmut and every process that it or a test has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def deadline_in(minutes: float) -> float:
    """The moment, on the monotonic clock, at which so many minutes are over."""
    return time.monotonic() + 60 * minutes

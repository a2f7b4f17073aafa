"""What is mutated, and the tests that belong to it."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

PACKAGES_FILE = Path(__file__).with_name("packages.yaml")


class Package(BaseModel):
    """One row of ``packages.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mutate: tuple[str, ...]
    """Globs of files, from the root of the repository."""
    tests: tuple[str, ...]
    """Folders and files of tests."""
    left_out: dict[str, str] = {}
    """File that the globs find and that is not mutated -> why."""

    def files(self, root: Path) -> list[str]:
        """The files to mutate, sorted.

        Raises:
            ValueError: a glob finds none.
        """
        found: set[str] = set()
        for glob in self.mutate:
            matched = {path.relative_to(root).as_posix() for path in root.glob(glob)}
            if not matched:
                raise ValueError(f"{glob}: finds no file in {root}")
            found |= matched
        return sorted(name for name in found - set(self.left_out) if not name.endswith("__init__.py"))


def read_packages(path: Path = PACKAGES_FILE) -> dict[str, Package]:
    """Name -> package."""
    return TypeAdapter(dict[str, Package]).validate_python(yaml.safe_load(path.read_text()))

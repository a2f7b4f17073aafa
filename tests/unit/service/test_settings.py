"""Settings: file, environment, and the refusal of typos in either."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import SettingsInvalid
from service.settings import configuration_markdown, read_settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PORT", "HOST", "CPFD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "serve.yaml").write_text(text)
    monkeypatch.setenv("CPFD_CONFIG", str(tmp_path / "serve.yaml"))


def test_defaults_are_two_arms_half_and_half() -> None:
    settings = read_settings()
    assert [(arm.name, str(arm.bundle), arm.weight) for arm in settings.arms] == [
        ("baseline", "bundles/xvlm-baseline", 50),
        ("student", "bundles/cpfd-student", 50),
    ]
    assert settings.lanes.effective_buckets == (1,)


def test_the_environment_overrides_bare_variables_which_override_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config(monkeypatch, tmp_path, "port: 1\nhost: 0.0.0.0\ndecode: {workers: 1, wall_seconds: 3}\n")
    assert read_settings().port == 1
    monkeypatch.setenv("PORT", "2")
    assert read_settings().port == 2
    monkeypatch.setenv("CPFD_PORT", "3")
    monkeypatch.setenv("CPFD_DECODE__WORKERS", "5")
    monkeypatch.setenv("CPFD_DECODE__LIMITS__MAX_DURATION_S", "9")
    settings = read_settings()
    assert (settings.port, settings.host) == (3, "0.0.0.0")
    assert (settings.decode.workers, settings.decode.wall_seconds) == (5, 3.0)
    assert settings.decode.limits.max_duration_s == 9


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CPFD_PROT", "1", "CPFD_PROT is not a setting"),
        ("CPFD_DECODE__WORKRS", "1", "decode.workrs"),
        ("CPFD_PORT", "many", "port"),
        ("CPFD_ARMS", "[{]", "arms"),
        ("CPFD_ARMS", '[{"name": "a", "bundle": "b", "weight": 0}]', "weight"),
        ("CPFD_CONFIG", "/no/such/file.yaml", "there is no such file"),
        ("CPFD_LANES__BUCKETS", "[2, 4]", "buckets must ascend from 1"),
        ("CPFD_ADMISSION__MAX_BYTES", "10", "admission.max_bytes"),
        ("CPFD_UPLOADS__MAX_BYTES", "10", "uploads.max_bytes"),
    ],
)
def test_a_bad_variable_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as refused:
        read_settings()
    assert says in refused.value.detail
    assert "\n" not in refused.value.detail


@pytest.mark.parametrize("text", ["prot: 1\n", "decode: {workrs: 1}\n", "port: [\n", "- 1\n"])
def test_a_bad_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    config(monkeypatch, tmp_path, text)
    with pytest.raises(SettingsInvalid):
        read_settings()


def test_the_committed_configuration_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    without = read_settings()
    monkeypatch.chdir(ROOT)
    assert read_settings() == without


def test_the_documentation_is_current() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == configuration_markdown(), (
        "run: python -m service.settings --markdown > docs/configuration.md"
    )

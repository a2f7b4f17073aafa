"""What changes operation: a YAML file, then the environment. The only reader of the environment.

Order, later wins: defaults, the YAML file (``CPFD_CONFIG``, else ``configs/serve.yaml`` if it is there), ``PORT``
and ``HOST``, ``CPFD_*`` (nested with ``__``: ``CPFD_DECODE__WORKERS=4``; lists as JSON). A typo in either is refused.

    python -m service.settings --markdown     prints docs/configuration.md
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from contract.video import DecodeLimits
from service.cores import available_cores
from service.errors import SettingsInvalid
from service.experiment.configuration import (
    DEFAULT_ARMS,
    ArmSettings,
    ExperimentSettings,
    ListedExperiment,
    Section,
    check,
)
from service.experiment.log.settings import FeedbackSettings, LogSettings
from service.sandbox.protections import SandboxSettings

PREFIX = "CPFD_"
CONFIG_VARIABLE = "CPFD_CONFIG"
DEFAULT_CONFIG = Path("configs/serve.yaml")
MIB = 1024 * 1024


class ConnectionSettings(Section):
    max_total: int = Field(default=1024, ge=1)
    """Open connections, lowered at the start where the limit of open files asks for it. At the bound the one that has
    waited longest for its request gives way; where all are at work, a new one is answered 503."""
    max_per_peer: int = Field(default=512, ge=0)
    """Open connections of one address (IPv6: of one /64 network). 0: no bound but ``max_total``."""
    head_seconds: float = Field(default=10.0, gt=0)
    """From the connection, or from a kept connection's next byte, to the end of a request's headers; then 408."""
    max_head_bytes: int = Field(default=128 * 1024, ge=1024)
    """Request line and headers; then 431. Long texts belong into a form, not into the query."""
    max_headers: int = Field(default=128, ge=16)
    """Header fields of one request; then 431."""
    send_seconds: float = Field(default=20.0, gt=0)
    """An answer that its caller does not take for so long is given up."""
    linger_seconds: float = Field(default=2.0, gt=0)
    """After a refusal that closes, what still comes is thrown away for so long, so that the caller reads the answer."""
    linger_bytes: int = Field(default=4 * MIB, ge=0)
    """The same in bytes: at either bound the connection is cut."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose ``X-Forwarded-For`` names the peer of an upload. In the environment as
    JSON."""


class UploadSettings(Section):
    max_count: int = Field(default=128, ge=1)
    """Bodies that are received at the same time. At the bound the slowest slow one gives way; where none is slow, a
    new one is answered 429."""
    max_bytes: int = Field(default=512 * MIB, ge=1)
    """Bytes those bodies may bring. A body of undeclared length counts as the largest."""
    min_bytes_per_second: int = Field(default=4096, ge=0)
    """A body that brings less over ``body.stall_seconds`` is given up with 408."""
    slow_bytes_per_second: int = Field(default=65_536, ge=0)
    """A body that has come for ``slow_after_seconds`` with less than this on average is slow."""
    slow_after_seconds: float = Field(default=2.0, gt=0)
    """When a body is first looked at, and how often."""
    max_slow_per_peer: int = Field(default=16, ge=0)
    """Slow bodies of one address (IPv6: of one /64 network) at the same time; more are given up with 408. Behind a
    proxy that does not buffer requests, set ``connection.trusted_proxies``. 0: no bound."""


class BodySettings(Section):
    max_media_bytes: int = Field(default=64 * MIB, ge=1)
    """Largest video."""
    max_text_bytes: int = Field(default=65_536, ge=1)
    """Largest single text field, UTF-8. (What a model reads of it is its bundle's token budget.)"""
    stall_seconds: float = Field(default=10.0, gt=0)
    """A body that brings less than `uploads.min_bytes_per_second` over so long is given up with 408."""
    spool_directory: Path | None = None
    """Where uploads wait for their decoder, as unnamed files. None: the system's temporary directory."""

    @property
    def max_body_bytes(self) -> int:
        """The whole body: video, texts, and 64 KiB for the form around them."""
        return self.max_media_bytes + 3 * self.max_text_bytes + 65_536


class DecodeSettings(Section):
    workers: int = Field(default=0, ge=0, le=256)
    """Decodes at the same time. 0: one for each core this process may use, by its CPU mask and its control group's
    quota. Two worker processes more are kept warm, and one for those who come last."""
    wall_seconds: float = Field(default=10.0, gt=0)
    """A decode that takes longer is killed and answered with 422 ``decode_timeout``."""
    cpu_seconds: int = Field(default=15, ge=1)
    """CPU time of one decode (RLIMIT_CPU): also ends a worker whose parent is gone."""
    memory_bytes: int = Field(default=2048 * MIB, ge=512 * MIB)
    """Address space of one worker (RLIMIT_AS)."""
    jobs_per_worker: int = Field(default=1000, ge=1)
    """Jobs (a look at a clip, or its decode) before a worker is replaced by a fresh one, give or take a quarter."""
    quarantine_after: int = Field(default=2, ge=1)
    """A clip (by SHA-256) that ended so many workers by its own doing is refused without decoding."""
    quarantine_entries: int = Field(default=4096, ge=1)
    """How many such clips are remembered; the least recently seen are forgotten."""
    quarantine_seconds: float = Field(default=3600.0, gt=0)
    """After so long a crash is forgotten."""
    start_seconds: float = Field(default=30.0, gt=0)
    """How long a worker may take to start."""
    sandbox: SandboxSettings = SandboxSettings()
    limits: DecodeLimits = DecodeLimits()
    """What a clip may cost before it is refused unread."""


class LaneSettings(Section):
    count: int = Field(default=0, ge=0, le=64)
    """Batches that run at the same time. 0: one for each core on ``cpu``, one on ``cuda``."""
    intra_threads: int = Field(default=1, ge=1, le=256)
    """Threads inside one run, on the CPU."""
    provider: Literal["cpu", "cuda"] = "cpu"
    """onnxruntime's execution provider. If ``cuda`` cannot be had, the service does not start."""
    buckets: tuple[Annotated[int, Field(ge=1, le=256)], ...] = ()
    """Batch sizes that may run, ascending from 1. Empty: (1,) on ``cpu``, where batches cost time, and
    (1, 2, 4, 8, 16) on ``cuda``, where each takes memory for a vision tower of its own."""

    @model_validator(mode="after")
    def _ascending(self) -> LaneSettings:
        if self.buckets and (self.buckets[0] != 1 or list(self.buckets) != sorted(set(self.buckets))):
            raise ValueError("buckets must ascend from 1")
        return self

    @property
    def effective_buckets(self) -> tuple[int, ...]:
        return self.buckets or ((1,) if self.provider == "cpu" else (1, 2, 4, 8, 16))

    @property
    def effective_count(self) -> int:
        return self.count or (available_cores() if self.provider == "cpu" else 1)


class AdmissionSettings(Section):
    max_requests: int = Field(default=0, ge=0)
    """Requests at work, their bodies complete; more are answered 429 with a computed Retry-After. 0: 1024 for each
    core, or as many as the limit of open files allows."""
    max_seconds_of_work: float = Field(default=10.0, gt=0)
    """Accepted work, in seconds until it is done at its predicted price; newcomers beyond are answered 429. ``bulk``
    requests get half of it."""
    max_bytes: int = Field(default=512 * MIB, ge=1)
    """Body bytes of those requests."""
    max_wasted_seconds: float = Field(default=0.4, ge=0)
    """Seconds of work, lately, for callers of one address (IPv6: of one /64 network) who left before their answer or
    whose clips ended decoders. Beyond, and where it is more than what the others of that address were answered with,
    they come last as long as there are others, and decode by what those leave of the cores. Behind a proxy, set
    ``connection.trusted_proxies``. 0: no bound."""


class DeadlineSettings(Section):
    default_ms: int = Field(default=20_000, ge=1)
    """A request's time, if it names none in ``X-Request-Timeout-Ms``; past it the answer is 504."""
    min_ms: int = Field(default=50, ge=1)
    """The least a request may ask for; less is refused."""
    max_ms: int = Field(default=60_000, ge=1)
    """The most a request may ask for; more is lowered to this."""


class DrainSettings(Section):
    notice_seconds: float = Field(default=1.0, ge=0)
    """After SIGTERM the service stays reachable, not ready, for at least so long."""
    max_seconds: float = Field(default=30.0, gt=0)
    """Requests still in flight after so long are cut off."""


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on. In a container: 0.0.0.0, or :: for both families. ``HOST`` is honoured too."""
    port: int = Field(default=8000, ge=0, le=65535)
    """``PORT`` is honoured too. 0: any free one, which the log names."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """A port for ``/metrics`` alone, which is then not on ``port``. None: it is there."""
    keep_alive_seconds: int = Field(default=75, ge=1)
    """Idle connections are closed after this; keep it above the idle time of the proxy in front."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the JSON lines on stderr. ``info`` writes one line a request."""
    log_queue_lines: int = Field(default=10_000, ge=1)
    """Lines that may wait for whoever reads stderr; more are dropped and counted, and nothing waits for them."""
    arms: tuple[ArmSettings, ...] = DEFAULT_ARMS
    """The arms and their shares. In the environment as JSON."""
    experiment: ExperimentSettings = ExperimentSettings()
    experiments: tuple[ListedExperiment, ...] = ()
    """Several experiments instead of the one that `arms` and `experiment` describe. In the environment as JSON."""
    connection: ConnectionSettings = ConnectionSettings()
    uploads: UploadSettings = UploadSettings()
    body: BodySettings = BodySettings()
    decode: DecodeSettings = DecodeSettings()
    lanes: LaneSettings = LaneSettings()
    admission: AdmissionSettings = AdmissionSettings()
    deadline: DeadlineSettings = DeadlineSettings()
    drain: DrainSettings = DrainSettings()
    log: LogSettings = LogSettings()
    feedback: FeedbackSettings = FeedbackSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        check(self.arms, self.experiment, self.experiments)
        if self.admission.max_bytes < self.body.max_body_bytes:
            raise ValueError("admission.max_bytes is below the largest single body: no large upload could ever enter")
        if self.uploads.max_bytes < self.body.max_body_bytes:
            raise ValueError("uploads.max_bytes is below the largest single body: no large upload could ever enter")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """First wins: arguments, CPFD_*, PORT and HOST, the YAML file."""
        bare = {name.lower(): os.environ[name] for name in ("PORT", "HOST") if os.environ.get(name)}
        file = _config_file()
        yaml = (YamlConfigSettingsSource(settings_cls, file),) if file else ()
        return (init_settings, env_settings, InitSettingsSource(settings_cls, bare), *yaml)


def read_settings(**overrides: Any) -> Settings:
    """The settings from file, environment and ``overrides`` (the strongest).

    Raises:
        SettingsInvalid: a file that cannot be read, an unknown name or a bad value. The message is one line.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise SettingsInvalid(f"settings: {faults}") from error
    except (SettingsError, OSError, ValueError) as error:
        raise SettingsInvalid(f"settings: {' '.join(str(error).split())}") from error
    except (YAMLError, TypeError) as error:
        raise SettingsInvalid(f"{_config_file()}: not a YAML mapping: {' '.join(str(error).split())}") from error


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsInvalid(f"{CONFIG_VARIABLE}={named}: there is no such file")
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None


def _refuse_unknown_variables() -> None:
    known = {CONFIG_VARIABLE} | {PREFIX + name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper().partition("__")[0] not in known:
            raise SettingsInvalid(f"{name} is not a setting; known are {', '.join(sorted(known))}")


def _rows(model: type[BaseModel], path: str) -> list[tuple[str, str, str]]:
    """(dotted name, default, description) of every leaf below ``model``."""
    rows: list[tuple[str, str, str]] = []
    for name, field in model.model_fields.items():
        default, dotted = field.default, f"{path}{name}"
        if isinstance(default, BaseModel):
            rows += _rows(type(default), f"{dotted}.")
            continue
        described = " ".join((field.description or "").split()).replace("``", "`")
        if dotted == "arms":
            default = "baseline and student, 50 each"
        rows.append((dotted, "required" if field.is_required() else f"`{default}`", described))
    return rows


def configuration_markdown() -> str:
    """docs/configuration.md: every setting, its environment variable, default and meaning."""
    lines = [
        "# Configuration",
        "",
        "Generated by `python -m service.settings --markdown`; do not edit. Later wins: defaults, the YAML file",
        f"(`{CONFIG_VARIABLE}`, else `{DEFAULT_CONFIG}`), `PORT` and `HOST`, the environment. An unknown name in",
        "either stops the start.",
        "",
        "| setting | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for dotted, default, described in _rows(Settings, ""):
        lines.append(f"| `{dotted}` | `{PREFIX}{dotted.upper().replace('.', '__')}` | {default} | {described} |")
    for listed, entry in (("arms", ArmSettings), ("experiments", ListedExperiment)):
        lines += ["", f"An entry of `{listed}` (in the environment: a JSON list of objects):", ""]
        lines += ["| key | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {described} |" for name, _, described in _rows(entry, "")]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints docs/configuration.md."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(description="Prints the settings' documentation.")
    parser.add_argument("--markdown", action="store_true", required=True, help="as docs/configuration.md")
    parser.parse_args()
    sys.stdout.write(configuration_markdown())


if __name__ == "__main__":
    main()

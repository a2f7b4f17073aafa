"""A whole run's configuration, and how it is read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from contract.decision import OperatingPoint
from contract.frozen import GrowingDocument
from contract.input_spec import InputSpec
from training.config.distillation import DistillationConfig
from training.config.model import ModelConfig, TeacherConfig
from training.config.optimiser import OptimiserConfig
from training.config.pretrained import PretrainedConfig
from training.errors import TrainingError

DocumentT = TypeVar("DocumentT", bound=BaseModel)


class ConfigError(TrainingError):
    """A configuration file that cannot be used. The message names the file and the field."""


class RunConfig(GrowingDocument):
    """Everything, except the data, that decides what a run will predict."""

    first_fields: ClassVar = frozenset({"input_spec", "model", "teacher", "optimiser", "distillation"})

    input_spec: InputSpec = InputSpec()
    model: ModelConfig
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    distillation: DistillationConfig = DistillationConfig()
    kd_teacher: ModelConfig | None = None
    """Architecture of vanilla KD's teacher, larger than ``model``; without one it is ``model``."""

    operating_points: dict[str, OperatingPoint] = Field(default_factory=dict)
    """Task -> what its threshold is chosen for; the highest F1 where nothing is said."""
    pretrained: PretrainedConfig | None = None
    """Weights that students and teachers of ``model`` start from."""
    kd_teacher_pretrained: PretrainedConfig | None = None
    """Weights that ``kd_teacher`` starts from."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> RunConfig:
        for name, model in {"model": self.model, "kd_teacher": self.kd_teacher}.items():
            if model is not None:
                try:
                    model.check_input(self.input_spec)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        if self.kd_teacher is None and self.kd_teacher_pretrained is not None:
            raise ValueError("kd_teacher_pretrained is given, but no kd_teacher")
        if self.kd_teacher is not None and self.kd_teacher.text.vocab_size < self.model.text.vocab_size:
            raise ValueError("kd_teacher.text.vocab_size is smaller than model.text.vocab_size")
        return self


def read_config(path: Path) -> RunConfig:
    """The run configuration in a YAML file. Raises ConfigError as ``read_document``."""
    return read_document(path, RunConfig)


def read_document(path: Path, kind: type[DocumentT]) -> DocumentT:
    """A document of some kind in a YAML file; an empty file has every default.

    Raises:
        ConfigError: the file is missing, not YAML, or has a wrong or unknown field.
    """
    try:
        document = yaml.safe_load(path.read_text())
        return kind.model_validate({} if document is None else document)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults_in(error)}") from error


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The configuration with some fields set anew, checked as a whole.

    Args:
        config: to start from.
        changes: dotted path of a field, as ``optimiser.lr`` -> its value as YAML has it.

    Raises:
        ConfigError: there is no such field, or the values do not fit.
    """
    document = config.model_dump(mode="json")
    for path, value in changes.items():
        *above, name = path.split(".")
        place: Any = document
        for part in above:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ConfigError(f"{path}: there is no such field")
        place[name] = value
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{', '.join(changes)}: {faults_in(error)}") from error


def field_faults(error: ValidationError) -> list[tuple[str, str]]:
    """Every wrong field (a dotted path, empty for the whole document) and what is wrong with it.

    What our own validators say stands as they say it, without the "Value error," that pydantic puts before.
    """
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    return [(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in errors]


def faults_in(error: ValidationError) -> str:
    """One line that names every wrong field and what is wrong with it."""
    return "; ".join(f"{field}: {message}" if field else message for field, message in field_faults(error))

"""Frozen models of ``configs/*.yaml``. What changes predictions is here, and hashed into every artefact.

vision_model   Swin, or a pretrained backbone over moments
model          text encoder, cross layers, the teacher's fusion
optimiser      rates, batches, what weights are kept, augmentation
distillation   what is learnt from a teacher
pretrained     weights to start from
run_config     all of it, read from YAML
"""

from __future__ import annotations

from training.config.distillation import ConfidenceName, DistillationConfig, WeightingName
from training.config.model import FusionName, ModelConfig, TeacherConfig, TextConfig
from training.config.optimiser import AugmentationConfig, OptimiserConfig
from training.config.pretrained import PretrainedConfig, SourceName, WeightSource
from training.config.run_config import (
    ConfigError,
    RunConfig,
    changed,
    faults_in,
    field_faults,
    read_config,
    read_document,
)
from training.config.vision_model import (
    AUTO_PREFIX,
    OF_THREE_PICTURES,
    FeatureMap,
    MomentVisionConfig,
    Statistic,
    VisionConfig,
)

__all__ = [
    "AUTO_PREFIX",
    "OF_THREE_PICTURES",
    "AugmentationConfig",
    "ConfidenceName",
    "ConfigError",
    "DistillationConfig",
    "FeatureMap",
    "FusionName",
    "ModelConfig",
    "MomentVisionConfig",
    "OptimiserConfig",
    "PretrainedConfig",
    "RunConfig",
    "SourceName",
    "Statistic",
    "TeacherConfig",
    "TextConfig",
    "VisionConfig",
    "WeightSource",
    "WeightingName",
    "changed",
    "faults_in",
    "field_faults",
    "read_config",
    "read_document",
]

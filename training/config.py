"""Frozen models of ``configs/*.yaml``. What changes predictions is here, and hashed into every artefact."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from contract.decision import OperatingPoint
from contract.frozen import FrozenDocument, GrowingDocument
from contract.input_spec import InputSpec
from training.errors import TrainingError


class ConfigError(TrainingError):
    """A configuration file that cannot be used. The message names the file and the field."""


class VisionConfig(FrozenDocument):
    """Swin per frame (arXiv:2103.14030), then attention over time."""

    embed_dim: int = Field(ge=8)
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    patch_size: int = 4
    window_size: int = 7
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    temporal_layers: int = Field(default=1, ge=0)
    """Layers of attention over the frames at each patch position; 0 leaves X2-VLM's order-blind mean."""

    @model_validator(mode="after")
    def _stages_match(self) -> VisionConfig:
        if len(self.depths) != len(self.heads):
            raise ValueError("depths and heads must have one entry for each stage")
        return self

    @property
    def width(self) -> int:
        """D_v: the width of a vision token."""
        return int(self.embed_dim * 2 ** (len(self.depths) - 1))

    def patches(self, frame_size: int) -> int:
        """P: patches of a frame of so many pixels a side that the last stage gives.

        Raises:
            ValueError: the stages do not divide the frame evenly.
        """
        stride = self.patch_size * 2 ** (len(self.depths) - 1)
        if frame_size % stride:
            raise ValueError(f"frame_size must be a multiple of {stride}, the vision encoder's total stride")
        return (frame_size // stride) ** 2

    def check_windows(self, frame_size: int) -> None:
        """Raises ValueError unless the last stage's grid holds at least one window."""
        side = round(self.patches(frame_size) ** 0.5)
        if side < self.window_size:
            raise ValueError(
                f"frame_size {frame_size} leaves the last stage a grid of {side}x{side}, smaller than window_size "
                f"{self.window_size}: enlarge the frame, or set a smaller window"
            )


FeatureMap = Literal["stride16", "stride32", "head"]
Statistic = Literal["mean", "max", "top", "motion_mean", "motion_max", "tremor", "moving"]


class MomentVisionConfig(GrowingDocument):
    """A pretrained image backbone on each picture, summarised moment by moment.

    What is kept of a moment are statistics of each channel over the places of a feature map:

    mean, max, top            averaged over the moment's pictures: what is to be seen. ``top``: the mean of the
                              twentieth of places where it is greatest
    motion_mean, motion_max   of the absolute difference of neighbouring pictures: that something moves
    tremor                    of three pictures A, B, C: |A - 2B + C| - |C - A| / 2, its mean over the tenth of places
                              where it is greatest: what moves to and fro. Steady motion cancels
    moving                    of B, its mean weighted by |A - 2B + C| over all channels: what it is that moves
    """

    first_fields: ClassVar = frozenset({"backbone", "width"})
    backbone: str = Field(pattern=r"^(efficientnet_lite[0-4]|auto:.+)$")
    """``efficientnet_lite0`` to ``4``; or ``auto:`` and a folder or an id on the hub that the library's AutoBackbone
    reads: its last feature map counts."""
    width: int = Field(ge=8)
    """D: of what the heads read; must be the text's ``hidden_size``."""
    maps: tuple[FeatureMap, ...] = Field(default=("stride16",), min_length=1)
    """Of EfficientNet-Lite: which feature maps are summarised. ``head`` is the one behind the last convolution. Blocks
    behind the last map that is wanted are not computed."""
    statistics: tuple[Statistic, ...] = Field(
        default=("mean", "max", "top", "motion_mean", "tremor", "moving"), min_length=1
    )
    """Those of motion need bursts of two pictures or more, the last two those of three."""
    task_statistics: dict[str, tuple[Statistic, ...]] = Field(default_factory=dict)
    """Task -> the statistics that it reads; all where nothing is said. With some hundred clips, what a task has no use
    for is what it is overfitted to."""
    task_pooling: dict[str, Literal["mean", "strongest"]] = Field(default_factory=dict)
    """Task -> how its moments' scores become the clip's: ``mean``, for what is to be seen all along, or ``strongest``,
    for what may be over in two seconds: an average in which moments weigh by the exponential of their score. ``mean``
    where nothing is said."""
    trainable_blocks: int = Field(default=0, ge=0)
    """How many of the backbone's last blocks are trained. With 0 it is frozen, and what it gives is kept on disk."""
    bound: float = Field(default=2.0, ge=0)
    """The largest score of a moment, through tanh, so that no odd one (a cut, a repeated picture) decides alone; 0 for
    none. Of ``strongest`` tasks alone."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Of a moment's statistics."""

    @model_validator(mode="after")
    def _statistics_kept(self) -> MomentVisionConfig:
        for task, names in self.task_statistics.items():
            if not names or not set(names) <= set(self.statistics):
                raise ValueError(f"task_statistics of {task} must be some of statistics")
        return self

    @property
    def pictures_needed(self) -> int:
        """Of each burst."""
        if {"tremor", "moving"} & set(self.statistics):
            return 3
        return 2 if any(name.startswith("motion") for name in self.statistics) else 1


class TextConfig(GrowingDocument):
    """A BERT whose first layers read text alone and whose last layers cross-attend to vision tokens."""

    first_fields: ClassVar = frozenset(
        {"vocab_size", "embedding_size", "hidden_size", "heads", "ffn_size", "text_layers", "cross_layers"}
        | {"max_positions", "dropout"}
    )

    vocab_size: int = Field(default=30522, ge=3)
    embedding_size: int = Field(ge=8)
    """Width of the word embeddings; projected to ``hidden_size`` where it differs (as ELECTRA does)."""
    hidden_size: int = Field(ge=8)
    heads: int = Field(ge=1)
    ffn_size: int = Field(ge=8)
    text_layers: int = Field(ge=0)
    cross_layers: int = Field(ge=1)
    max_positions: int = Field(default=512, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    frozen: bool = False
    """Whether embeddings and text layers keep the weights they start from; what they give is then kept in memory."""
    trim_vocabulary: bool = False
    """Whether a vocabulary of more pieces than ``vocab_size`` is cut to those that training texts use most."""
    ngram_buckets: int = Field(default=0, ge=0)
    """Of the hashed path: words and pairs of words of a text, hashed into so many buckets, each with a weight for every
    task. 0 leaves it out."""


class ModelConfig(FrozenDocument):
    """The student's and the baseline's architecture; the teacher adds ``TeacherConfig``."""

    name: str
    vision: VisionConfig | MomentVisionConfig
    text: TextConfig

    @model_validator(mode="after")
    def _widths_fit(self) -> ModelConfig:
        if isinstance(self.vision, MomentVisionConfig) and self.vision.width != self.text.hidden_size:
            raise ValueError("vision.width must be text.hidden_size")
        if not isinstance(self.vision, MomentVisionConfig) and (self.text.frozen or self.text.ngram_buckets):
            raise ValueError("text.frozen and text.ngram_buckets need a vision.backbone")
        return self

    def check_input(self, spec: InputSpec) -> None:
        """Raises ValueError where the encoders cannot read what the spec gives."""
        if spec.max_text_tokens > self.text.max_positions:
            raise ValueError("input_spec reads more tokens than text.max_positions")
        if isinstance(self.vision, VisionConfig):
            self.vision.check_windows(spec.frame_size)
        elif self.vision.pictures_needed > (1 if spec.burst is None else spec.burst.pictures):
            raise ValueError(
                f"vision.statistics need input_spec.burst of {self.vision.pictures_needed} pictures or more"
            )


FusionName = Literal["gated_residual", "tokens", "concat", "film"]


class TeacherConfig(GrowingDocument):
    """How DF-X-VLM reads the privileged features (method.md 1.7)."""

    first_fields: ClassVar = frozenset({"fusion", "hidden_size", "dropout"})

    fusion: FusionName = "gated_residual"
    """Groups join [CLS] as a gated residual, as tokens it attends to, concatenated, or as its scale and shift."""
    hidden_size: int = Field(default=128, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    cross_fit_folds: int = Field(default=2, ge=2)
    """Into how many parts the training rows are split for the cross-fitted teacher: as many more teachers."""
    drop_top: int = Field(default=0, ge=0)
    """How many privileged features are dropped: those that alone predict each flag best on training rows, because a
    feature that is the label in disguise leaves nothing to distil."""


class AugmentationConfig(FrozenDocument):
    """How training clips are changed. 0 or false leaves a change out."""

    flip: bool = True
    """Exchange left and right in half of the clips. Off where any task asks about direction or reads writing."""
    shift: float = Field(default=0.1, ge=0, lt=0.5)
    """Largest shift, as a share of the side."""
    gain: float = Field(default=0.2, ge=0, lt=1)
    """Largest change of brightness, as a share."""
    scale: float = Field(default=0.0, ge=0, lt=0.9)
    """Largest share of the side that a crop leaves out; what is kept is enlarged."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Largest change of a single colour channel, as a share."""
    views: int = Field(default=1, ge=1, le=32)
    """With a frozen backbone: how many views of a clip are kept, the first of them unchanged. An epoch draws one."""


class OptimiserConfig(GrowingDocument):
    """AdamW with warm-up and decay."""

    first_fields: ClassVar = frozenset(
        {"lr", "weight_decay", "warmup_share", "clip_norm", "epochs", "video_batch", "text_batch", "video_repeat"}
        | {"precision", "pair_probability", "task_weights"}
    )

    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    epochs: int = Field(default=8, ge=1)
    video_batch: int = Field(default=16, ge=1)
    text_batch: int = Field(default=64, ge=1)
    video_repeat: int = Field(default=1, ge=1)
    """How many times an epoch goes through the rows that hold a clip."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16`` computes under autocast; weights and losses stay fp32."""
    pair_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of clips without text that get the text of a random other training row, with that row's labels and
    soft targets: served requests hold both, training rows seldom do. The draw knows no label."""
    task_weights: dict[str, float] = Field(default_factory=dict)
    accumulation_steps: int = Field(default=1, ge=1)
    """Into how many parts a process splits its share of a batch, to accumulate gradients before the optimiser steps.
    Batch, loss and number of steps stay the same; memory falls, and each part draws its own dropout."""
    group_lengths: bool = False
    """Whether texts of like length meet in a batch, drawn anew each epoch: less padding, and batches less alike."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How the rate falls to zero after the warm-up."""
    encoder_lr: float | None = Field(default=None, gt=0)
    """Rate of what started from pretrained weights and is trained; without it ``lr``. Usually a tenth of that."""
    ngram_lr: float | None = Field(default=None, gt=0)
    """Rate of the hashed path's weights, which are sparse and start at zero; without it ``lr``."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Of the exponential moving average of the weights that is kept in place of the last ones; 0 keeps the last."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights are kept: ``best`` by the mean over tasks of the validation rows' PR-AUC."""
    refit: bool = False
    """Whether, with epochs, temperature and thresholds chosen on validation rows, a model is trained anew on training
    rows and the validation fold together. Twice the work, for half as many rows again where folds are few. Rows of a
    fixed validation split stay out of it."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of rows with clip and text that lose one of them, by turns: else a request with one alone is unlike all
    that was trained on."""
    balance: Literal["none", "class"] = "none"
    """``class``: rows weigh in a task's label loss so that its classes weigh the same."""
    augmentation: AugmentationConfig = AugmentationConfig()


ConfidenceName = Literal["true_prob", "max_prob", "max_prob_norm", "entropy", "correct", "margin", "uniform"]
WeightingName = Literal["scale", "mix", "norm"]


class DistillationConfig(GrowingDocument):
    """L = (1 - lambda) mean CE_i + lambda mean c_i KD_i (method.md 1.5), and the options of its rivals."""

    first_fields: ClassVar = frozenset({"lam", "temperature", "confidence", "weighting"})

    lam: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    """T: both logits are divided by it in the distillation term, which is multiplied by T^2."""
    confidence: ConfidenceName = "true_prob"
    """c_i: how the teacher's confidence in a row is computed."""
    weighting: WeightingName = "scale"
    """How c_i enters: on the distillation term alone, as the row's own lambda, or with the batch's mean kept at 1."""
    gamma: float = Field(default=1.0, ge=0)
    """The power c_i is raised to; 0 is PFD."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The least weight a row gets, before ``per_class_norm``."""
    per_class_norm: bool = False
    """Divides the weights by their mean over the training rows of the same class, so that rare positives, which a
    teacher is less sure of, are not distilled less. Weights can then exceed 1."""
    swap_share: float = Field(default=0.25, ge=0, le=1)
    """``pfd_joint``: lambda is 0 for this share of the steps, while the teacher is hardly trained."""
    preview_delta: float = Field(default=1.0, ge=0)
    """``pckd_preview`` and ``pckd``: delta, the weight of the distillation term. The authors' command leaves it 0."""
    pckd_beta: float = Field(default=0.05, ge=0)
    """``pckd``: weight of the category-contrastive term; this default and the next two are the authors'."""
    pckd_alpha: float = Field(default=1.0, ge=0)
    """``pckd``: weight of the difference between the classifiers' last layers."""
    pckd_fa: float = Field(default=20.0, ge=0)
    """``pckd``: weight of the angle between the student's projected features and the teacher's."""
    cckd_form: Literal["loss", "target"] = "loss"
    """``cckd``: whether the teacher's confidence mixes two losses, or two targets."""
    wsld_alpha: float = Field(default=2.5, ge=0)
    """``wsld``: weight of the distillation term."""
    ea_temperature: float = Field(default=3.0, gt=0)
    """``ea_kd``: T' of the entropies."""
    tpd_beta: float = Field(default=0.5, ge=0)
    """``tpd``: weight of the term that moves the student away from a teacher that is wrong."""
    tpd_clip: float = Field(default=2.0, gt=0)
    """``tpd``: nats at which that term is clipped."""
    mtl_beta: float = Field(default=0.5, ge=0)
    """``mtl``: weight of predicting the privileged features."""


SourceName = Literal["checkpoint", "swin", "bert", "vision", "text"]


class WeightSource(FrozenDocument):
    """An encoder that somebody else trained."""

    source: str
    """A file, a folder, ``package:MODULE/path/inside``, or an id on the hub."""
    licence: str = Field(min_length=2)
    """Of the weights, as an SPDX identifier where there is one: it goes into the bundle's provenance and card."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Of the weights' file."""


class PretrainedConfig(GrowingDocument):
    """Weights to start from. Text weights need the vocabulary they were trained with."""

    first_fields: ClassVar = frozenset({"kind", "checkpoint", "parts", "swin", "bert", "local_files_only", "sha256"})
    kind: Literal["xvlm", "hf", "encoders"]
    """``xvlm``: an official X-VLM or X2-VLM file. ``hf``: Swin, BERT or both, as Hugging Face stores them.
    ``encoders``: a backbone and a BERT for a model with ``vision.backbone``."""
    vision: WeightSource | None = None
    """``encoders``: of the backbone."""
    text: WeightSource | None = None
    """``encoders``: of the text encoder, a whole BERT or its first layers; cross layers start fresh."""
    allow_research_weights: bool = False
    """Whether weights whose licence is for research alone may be used."""
    checkpoint: str | None = None
    """``xvlm``: path of the file."""
    parts: tuple[Literal["vision", "text"], ...] = Field(default=("vision", "text"), min_length=1)
    """``xvlm``: what is read of the file; ``text`` includes the cross layers. X2-VLM's vision tower does not fit."""
    swin: str | None = None
    """A folder or an id on the hub; beside an ``xvlm`` file only where that gives no vision."""
    bert: str | None = None
    """A folder or an id on the hub; its first layers become the text encoder, the others the cross encoder, whose
    cross attention stays fresh. ELECTRA is read too."""
    local_files_only: bool = True
    """False lets an id on the hub be downloaded."""
    sha256: dict[SourceName, str] = Field(default_factory=dict)
    """Of the file, or of a folder's ``model.safetensors``. Without it, other weights under the same name go unseen."""

    @model_validator(mode="after")
    def _sources_fit(self) -> PretrainedConfig:
        if (self.kind == "encoders") != (self.vision is not None or self.text is not None):
            raise ValueError("kind encoders needs vision, text or both, and no other kind has them")
        if self.kind == "encoders" and (self.checkpoint, self.swin, self.bert) != (None, None, None):
            raise ValueError("kind encoders takes neither checkpoint nor swin nor bert")
        if self.kind == "xvlm" and (self.checkpoint is None or self.bert is not None):
            raise ValueError("kind xvlm needs checkpoint, and no bert")
        if self.kind == "xvlm" and self.swin is not None and "vision" in self.parts:
            raise ValueError("swin and the checkpoint both give vision: set parts to [text]")
        if self.kind == "hf" and (self.checkpoint is not None or not (self.swin or self.bert)):
            raise ValueError("kind hf needs swin, bert or both, and no checkpoint")
        if not set(self.sha256) <= set(self.sources):
            raise ValueError("sha256 names a source that is not given")
        return self

    @property
    def sources(self) -> dict[SourceName, str]:
        """Source -> path or id, of those that are given."""
        given = {"checkpoint": self.checkpoint, "swin": self.swin, "bert": self.bert}
        return {name: source for name, source in given.items() if source is not None}  # type: ignore[misc]

    @property
    def reads_text(self) -> bool:
        """Whether any source gives word embeddings."""
        if self.kind == "encoders":
            return self.text is not None
        return self.bert is not None if self.kind == "hf" else "text" in self.parts


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
    """The run configuration in a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or has a wrong or unknown field.
    """
    try:
        document = yaml.safe_load(path.read_text())
        return RunConfig.model_validate({} if document is None else document)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults_in(error)}") from error


def field_faults(error: ValidationError) -> list[tuple[str, str]]:
    """Every wrong field (a dotted path, empty for the whole document) and what is wrong with it.

    What our own validators say stands as they say it, without the "Value error," that pydantic puts before.
    """
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    return [(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in errors]


def faults_in(error: ValidationError) -> str:
    """One line that names every wrong field and what is wrong with it."""
    return "; ".join(f"{field}: {message}" if field else message for field, message in field_faults(error))

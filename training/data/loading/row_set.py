"""The rows of one split and the padded batches made of them, by the contract's own tokenisation and collation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.decision import TaskSpec
from contract.input_spec import InputSpec
from contract.text import TextTokenizer, TokenisedText
from training.config import AugmentationConfig
from training.data.augmentation import Change
from training.data.frames.frame_store import FrameStore
from training.data.frames.trunk_features import ClipFeatures, TextFeatures
from training.data.loading.batch_inputs import Hidden, InputPlan, InputReader
from training.data.manifest import Row
from training.data.privileged import PrivilegedStatistics
from training.data.targets import TaskTargets, task_targets

Pick = tuple[int, int | None]
"""A row and, where the clip borrows a text, the row it is borrowed from."""


@dataclass(frozen=True)
class TaskRows:
    """The labelled rows of a batch for one task: their positions, targets and, where stored, a teacher's logits.

    Attributes:
        teacher_NK: the teacher's logits.
        features_ND: what the teacher represents of them.
    """

    task: TaskSpec
    positions_N: Tensor
    targets: Tensor
    teacher_NK: Tensor | None
    features_ND: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Tensors under the contract's input names, privileged groups, and each task's labelled rows."""

    inputs: dict[str, Tensor]
    privileged: dict[str, tuple[Tensor, Tensor]]
    tasks: dict[str, TaskRows]


@dataclass(frozen=True, eq=False)
class TeacherFeatures:
    """A frozen teacher's features of N rows, and the last layers of its heads.

    Attributes:
        represented_ND: (N, D_t) fp32, what its heads read.
        classifiers: task name -> (K, E_t + 1) fp32, weights and bias of its head's last layer.
    """

    represented_ND: NDArray[np.float32]
    classifiers: dict[str, NDArray[np.float32]]


@dataclass
class RowSet:
    """The rows of one split, ready to be batched. Rows whose clip could not be decoded are left out by the caller.

    Attributes:
        rows: N rows.
        cache: where the clips' frames are read.
        texts: (N,) tokenised texts.
        targets: task name -> targets over the N rows.
        privileged: group -> (values (N, F), presence (N, F)); empty for a student.
        soft_targets: task name -> (N, K) teacher logits; empty where none are read.
        teacher_features: of the same N rows; None where no method reads them.
        workers: processes that read batches where the caller does not say; 0 reads in this one.
        clip_features, text_features: what frozen encoders give of the rows; None has frames read, and texts encoded.
        augmentation: of training clips.
    """

    rows: list[Row]
    spec: InputSpec
    tokenizer: TextTokenizer
    cache: FrameStore
    texts: list[TokenisedText]
    targets: dict[str, TaskTargets]
    privileged: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    soft_targets: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    teacher_features: TeacherFeatures | None = None
    workers: int = 0
    clip_features: ClipFeatures | None = None
    text_features: TextFeatures | None = None
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    @property
    def has_video(self) -> NDArray[np.bool_]:
        return np.asarray([row.video is not None for row in self.rows], np.bool_)

    @property
    def has_text(self) -> NDArray[np.bool_]:
        return np.asarray([text.present for text in self.texts], np.bool_)

    def build(self, picks: Sequence[Pick], changes: Sequence[Change | None] | None = None) -> Batch:
        """The batch of the picked rows; clips are augmented where ``changes`` says how.

        Raises:
            RowError: the frames or features of a row cannot be read.
        """
        return self.around(picks, self.reader().read(self.input_plan(picks, changes or (None,) * len(picks))))

    def input_plan(
        self,
        picks: Sequence[Pick],
        changes: Sequence[Change | None],
        views: Sequence[int] | None = None,
        hidden: Sequence[Hidden] | None = None,
    ) -> InputPlan:
        """What the inputs of the picked rows are read from; by default the first view, nothing hidden."""
        owners = [index if partner is None else partner for index, partner in picks]
        return InputPlan(
            tuple(self.rows[i] for i, _ in picks),
            tuple(self.texts[i] for i in owners),
            tuple(changes),
            tuple(self.rows[i].id for i in owners),
            (0,) * len(picks) if views is None else tuple(views),
            (None,) * len(picks) if hidden is None else tuple(hidden),
        )

    def reader(self) -> InputReader:
        """Reads this set's input plans."""
        return InputReader(
            self.cache,
            self.spec,
            self.tokenizer.pad_id,
            self.tokenizer.encode({}),
            self.augmentation,
            self.clip_features,
            self.text_features,
        )

    def labels(self, picks: Sequence[Pick]) -> Batch:
        """The batch of the picked rows without inputs: targets, soft targets, privileged features. Reads no frames."""
        return self.around(picks, {})

    def around(self, picks: Sequence[Pick], inputs: dict[str, Tensor]) -> Batch:
        """The batch of the picked rows, whose inputs are read."""
        return Batch(
            inputs,
            {name: self._privileged(name, picks) for name in self.privileged},
            {name: self._task_rows(targets, picks) for name, targets in self.targets.items()},
        )

    def _task_rows(self, targets: TaskTargets, picks: Sequence[Pick]) -> TaskRows:
        positions, sources = [], []
        for position, (index, partner) in enumerate(picks):
            source = index if targets.labelled[index] or partner is None else partner
            if targets.labelled[source]:
                positions.append(position)
                sources.append(source)
        stored = self.soft_targets.get(targets.task.name)
        features = self.teacher_features
        return TaskRows(
            targets.task,
            torch.tensor(positions, dtype=torch.long),
            torch.from_numpy(targets.values[sources]),
            None if stored is None else torch.from_numpy(stored[sources]),
            None if features is None else torch.from_numpy(features.represented_ND[sources]),
        )

    def _privileged(self, name: str, picks: Sequence[Pick]) -> tuple[Tensor, Tensor]:
        values_NF, presence_NF = self.privileged[name]
        sources = [i if partner is None or presence_NF[i].any() else partner for i, partner in picks]
        return torch.from_numpy(values_NF[sources]), torch.from_numpy(presence_NF[sources])


def row_set(
    rows: Sequence[Row],
    tasks: Sequence[TaskSpec],
    spec: InputSpec,
    tokenizer: TextTokenizer,
    cache: FrameStore,
    workers: int = 0,
) -> RowSet:
    """The rows that can be read: those whose clip failed to decode are left out (the store counts them).

    Text fields that the spec does not read are left unread, as the service leaves them.
    """
    kept = [row for row in rows if row.id not in cache.failed]
    read = {field.name for field in spec.text_fields}
    texts = [tokenizer.encode({name: text for name, text in row.texts.items() if name in read}) for row in kept]
    targets = {t.name: task_targets(kept, t) for t in tasks}
    return RowSet(kept, spec, tokenizer, cache, texts, targets, workers=workers)


def joined(first: RowSet, second: RowSet) -> RowSet:
    """The rows of both, as ``row_set`` made them: nothing a teacher gave may be stored beside them."""
    targets = {
        name: replace(
            one,
            labelled=np.concatenate([one.labelled, second.targets[name].labelled]),
            values=np.concatenate([one.values, second.targets[name].values]),
        )
        for name, one in first.targets.items()
    }
    return replace(first, rows=first.rows + second.rows, texts=first.texts + second.texts, targets=targets)


def with_trunk_features(rows: RowSet, clips: ClipFeatures | None, texts: TextFeatures | None) -> RowSet:
    """The same rows with what frozen encoders give of them; with None, read from frames and texts."""
    return replace(rows, clip_features=clips, text_features=texts)


def with_privileged(rows: RowSet, statistics: PrivilegedStatistics) -> RowSet:
    """The same rows with standardised privileged features, for a teacher."""
    return replace(rows, privileged=statistics.transform(rows.rows))


def with_soft_targets(rows: RowSet, soft_targets: Mapping[str, NDArray[np.float32]]) -> RowSet:
    """The same rows with a teacher's logits (N, K) by task, for a student that distils."""
    return replace(rows, soft_targets=dict(soft_targets))


def with_teacher_features(rows: RowSet, features: TeacherFeatures) -> RowSet:
    """The same rows with a teacher's features, for a student that compares features."""
    return replace(rows, teacher_features=features)

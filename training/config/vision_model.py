"""What a model's vision encoder is: Swin from scratch, or a pretrained backbone over moments."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, get_args

from pydantic import Field, model_validator

from contract.frozen import FrozenDocument, GrowingDocument


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


FeatureMap = Literal["stride16_first", "stride16", "stride32_first", "stride32", "head"]
"""In the order in which a backbone computes them."""
AUTO_PREFIX: Final = "auto:"
"""Before the folder or id of a backbone that the library's AutoBackbone reads."""
OF_THREE_PICTURES: Final = frozenset({"tremor", "swing", "swing_mean", "swing_smooth", "moving"})
"""Statistics that need the picture before and the picture after: one of each three neighbouring pictures."""
Statistic = Literal[
    "mean", "max", "top", "motion_mean", "motion_max", "tremor", "swing", "swing_mean", "swing_smooth", "moving"
]


class MomentVisionConfig(GrowingDocument):
    """A pretrained image backbone on each picture, summarised moment by moment.

    What is kept of a moment are statistics of each channel over the places of a feature map:

    mean, max, top            averaged over the moment's pictures: what is to be seen. ``top``: the mean of the
                              twentieth of places where it is greatest
    motion_mean, motion_max   of the absolute difference of neighbouring pictures: that something moves
    tremor                    of three pictures A, B, C: |A - 2B + C| - |C - A| / 2, its mean over the tenth of places
                              where it is greatest: what moves to and fro. Steady motion cancels
    swing                     of A, B, C: the lesser of |B - A| and |C - B|, below 0 where both changes have one sign;
                              its mean over the same share. A cut within the burst is in one of the two alone, and
                              counts for little, where to ``tremor`` it looks like a fight
    swing_mean                the same over all places: whether what moves comes back, or goes on
    swing_smooth              the same of a map of means: each of 3 x 3 places, all of them within the map. What single
                              places flicker by cancels, and the border, where all that enters or leaves the picture
                              passes, counts for less
    moving                    of B, its mean weighted by |A - 2B + C| over all channels: what it is that moves

    A moment of P pictures has those of three pictures P - 2 times, once for each three neighbours; of ``middle_maps``
    once.
    """

    first_fields: ClassVar = frozenset({"backbone", "width"})
    backbone: str = Field(pattern=r"^(efficientnet_lite[0-4]|auto:.+)$")
    """``efficientnet_lite0`` to ``4``; or ``auto:`` and a folder or an id on the hub that the library's AutoBackbone
    reads: its last feature map counts."""
    width: int = Field(ge=8)
    """D: of what the heads read; must be the text's ``hidden_size``."""
    maps: tuple[FeatureMap, ...] = Field(default=("stride16",), min_length=1)
    """Of EfficientNet-Lite: which feature maps are summarised. ``stride16_first`` and ``stride32_first`` lie behind the
    first of the two stages of their stride, ``head`` behind the last convolution. Blocks behind the last map that is
    wanted are not computed."""
    middle_maps: tuple[FeatureMap, ...] = ()
    """Those of ``maps`` that are computed of each moment's middle three pictures alone: the deepest ones, for what is
    to be seen and what it is that moves, where a longer burst is for how it moves."""
    statistics: tuple[Statistic, ...] = Field(
        default=("mean", "max", "top", "motion_mean", "tremor", "moving"), min_length=1
    )
    """Those of motion need bursts of two pictures or more; ``tremor``, ``moving`` and those of swing need three."""
    map_statistics: dict[str, tuple[Statistic, ...]] = Field(default_factory=dict)
    """Map -> the statistics that are kept of it; ``statistics`` where nothing is said."""
    task_statistics: dict[str, tuple[Statistic, ...]] = Field(default_factory=dict)
    """Task -> the statistics that it reads; all where nothing is said. With some hundred clips, what a task has no use
    for is what it is overfitted to."""
    task_pooling: dict[str, Literal["mean", "strongest"]] = Field(default_factory=dict)
    """Task -> how its moments' scores become the clip's: ``mean``, for what is to be seen all along, or ``strongest``,
    for what may be over in two seconds: an average in which moments weigh by the exponential of their score. ``mean``
    where nothing is said."""
    tied_channels: tuple[str, ...] = ()
    """Tasks that weigh all channels of a statistic alike, and look at each moment by itself: a single weight for each
    statistic of each map. For what shows in every channel at once, such as motion, on too few clips to learn more."""
    trainable_blocks: int = Field(default=0, ge=0)
    """How many blocks are trained: the last of those up to the last map that is wanted. With 0 the backbone is frozen,
    and what it gives is kept on disk."""
    bound: float = Field(default=2.0, ge=0)
    """The largest score of a moment, through tanh, so that no odd one (a cut, a repeated picture) decides alone; 0 for
    none. Of ``strongest`` tasks alone."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Of a moment's statistics."""

    @model_validator(mode="after")
    def _statistics_kept(self) -> MomentVisionConfig:
        if self.map_statistics and self.backbone.startswith(AUTO_PREFIX):
            raise ValueError("map_statistics is for the EfficientNet-Lite backbones: any other's last map is read")
        for name in self.maps:
            kinds = self.statistics_of(name)
            if len(set(kinds)) < len(kinds) or self.maps.count(name) > 1:
                raise ValueError(f"maps and statistics: {name} or a statistic of it is named twice")
        if stray := self.map_statistics.keys() - set(self.maps):
            raise ValueError(f"map_statistics of {sorted(stray)[0]}, which is not one of maps")
        if empty := [name for name, kinds in self.map_statistics.items() if not kinds]:
            raise ValueError(f"map_statistics of {empty[0]}: name one at least, or leave the map out")
        self._check_middle_maps()
        for task, names in self.task_statistics.items():
            if not names or not set(names) <= self._kept:
                raise ValueError(f"task_statistics of {task} must be some of those that are kept of a map")
        return self

    def _check_middle_maps(self) -> None:
        if not self.middle_maps:
            return
        if self.backbone.startswith(AUTO_PREFIX):
            raise ValueError("middle_maps is for the EfficientNet-Lite backbones: any other's last map is read")
        depth = get_args(FeatureMap).index
        of_all = [name for name in self.maps if name not in self.middle_maps]
        if not set(self.middle_maps) < set(self.maps):
            raise ValueError("middle_maps must be some of maps, and not all of them")
        if max(map(depth, of_all)) > min(map(depth, self.middle_maps)):
            raise ValueError("middle_maps must lie behind all other maps: what is left out cannot come back")

    def statistics_of(self, name: str) -> tuple[Statistic, ...]:
        """Those that are kept of a map."""
        return self.map_statistics.get(name, self.statistics)

    def read_by(self, task: str) -> frozenset[Statistic]:
        """Those that a task reads, of whichever map."""
        return frozenset(self.task_statistics.get(task, self._kept))

    @property
    def _kept(self) -> set[Statistic]:
        return {kind for name in self.maps for kind in self.statistics_of(name)}

    @property
    def pictures_needed(self) -> int:
        """Of each burst."""
        if self.middle_maps or OF_THREE_PICTURES & self._kept:
            return 3
        return 2 if any(name.startswith("motion") for name in self._kept) else 1

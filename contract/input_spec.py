"""What a model reads, as a versioned document with a digest.

Training writes it into the checkpoint, export copies it into the bundle, serving obeys the bundle's copy:
an old bundle is therefore always served with its own preprocessing.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from contract.frozen import FrozenDocument, GrowingDocument


class TextField(FrozenDocument):
    """One text the caller may send, and how many word pieces of it are read."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    max_tokens: int = Field(ge=1, le=512)
    """Word pieces kept from the start of the field, special tokens not counted."""


class BurstSpec(FrozenDocument):
    """Moments spread over the clip, and at each a few pictures a fixed step of time apart.

    Spans of equal share lie 0.24 s apart on a clip of 2 s and 2 s apart on one of 15 s: what a model learns of motion
    on one means nothing on the other. Inside a burst the step is the same on every clip.
    """

    moments: int = Field(ge=1, le=64)
    """K: the clip is cut into K equal spans of time, and a burst stands in the middle of each."""
    pictures: int = Field(ge=1, le=8)
    """P: of each burst."""
    step_ms: float = Field(gt=0, le=2000)
    """Between neighbouring pictures of a burst."""


class InputSpec(GrowingDocument):
    """How a raw video and its texts become model inputs."""

    first_fields: ClassVar = frozenset(
        {"version", "frames", "frame_size", "sampling", "interpolation", "text_fields", "text_cleaning"}
    )
    version: Literal[1] = 1
    frames: int = Field(default=8, ge=1, le=64)
    """T: how many frames of a clip are read."""
    frame_size: int = Field(default=112, ge=16, le=512)
    """S: side in pixels of the square each frame is resized to. The aspect ratio is not kept (as X-VLM does)."""
    sampling: Literal["segment_middle", "segment_first", "bursts"] = "segment_middle"
    """The clip is cut into T equal spans of time; the picture in the middle (or at the start) of each is read. With
    ``bursts``, T = K P pictures as ``burst`` says, burst after burst."""
    burst: BurstSpec | None = None
    """Of ``sampling: bursts``."""
    interpolation: Literal["bicubic", "bilinear", "area"] = "bicubic"
    text_fields: tuple[TextField, ...] = (
        TextField(name="title", max_tokens=48),
        TextField(name="overlay_text", max_tokens=48),
    )
    """In the order in which they are joined: [CLS] title [SEP] overlay_text [SEP]."""
    text_cleaning: Literal["none", "xvlm"] = "none"
    """``xvlm`` lower-cases and deletes punctuation as X-VLM's captions were (method.md 3.1)."""

    @field_validator("text_fields")
    @classmethod
    def _names_differ(cls, fields: tuple[TextField, ...]) -> tuple[TextField, ...]:
        names = [field.name for field in fields]
        if not names or len(set(names)) != len(names):
            raise ValueError("text_fields must be one or more fields with different names")
        return fields

    @model_validator(mode="after")
    def _bursts_fit(self) -> InputSpec:
        if (self.sampling == "bursts") != (self.burst is not None):
            raise ValueError("sampling bursts needs burst, and no other sampling has one")
        if self.burst is not None and self.frames != self.burst.moments * self.burst.pictures:
            raise ValueError(f"frames must be moments x pictures of burst: {self.burst.moments * self.burst.pictures}")
        return self

    @property
    def moments(self) -> int:
        """K: places of the clip that a model can point at. Without bursts every frame is one."""
        return self.frames if self.burst is None else self.burst.moments

    @property
    def max_text_tokens(self) -> int:
        """L_max: the longest sequence, [CLS] and one [SEP] for each field included."""
        return 1 + sum(field.max_tokens + 1 for field in self.text_fields)

    @property
    def frames_shape(self) -> tuple[int, int, int, int]:
        """(T, S, S, 3), uint8 RGB."""
        return (self.frames, self.frame_size, self.frame_size, 3)

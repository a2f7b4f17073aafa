"""The contract's errors, drawn before any class.

    ContractError
    ├── InputError                 the example cannot be read; its sender must change it
    │   ├── NoInput                neither video nor text            no_input
    │   ├── InvalidText            text that is not text             invalid_text
    │   └── MediaError             the file cannot be used
    │       ├── EmptyMedia         zero bytes                        empty_video
    │       ├── UnsupportedMedia   no container or codec we decode   unsupported_media
    │       ├── NoVideoStream      audio or data only                no_video_stream
    │       ├── NoFrames           a video stream without frames     no_frames
    │       ├── CorruptMedia       too little of it decodes          corrupt_video
    │       ├── TruncatedMedia     it ends before it says it does    truncated_video
    │       ├── FrameTooLarge      one picture over the limit        frame_too_large
    │       ├── VideoTooLong       longer than the limit             video_too_long
    │       └── DecodeBudget       pixels x frames over the budget   decode_budget_exceeded
    ├── BundleError                a bundle that must not be served; the operator must act
    │   └── GoldenMismatch         its golden clip and title come out otherwise than at export
    └── Stopped                    whoever asked for the work wants it no more

Each InputError carries a stable snake_case ``code`` and a ``detail`` that says what to change. Neither
ever holds a path, a library's message or any of the sender's data.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class ContractError(Exception):
    """Anything that breaks the agreement between training and serving."""


class InputError(ContractError):
    """An example that cannot be read. ``code`` is stable; ``detail`` says what the sender must change."""

    code: ClassVar[str] = "invalid_input"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        """Survives pickling on the way out of a decode worker."""
        return (type(self), (self.detail,))


class NoInput(InputError):
    code = "no_input"


class InvalidText(InputError):
    code = "invalid_text"


class MediaError(InputError):
    """A media file that cannot be used."""


class EmptyMedia(MediaError):
    code = "empty_video"


class UnsupportedMedia(MediaError):
    code = "unsupported_media"


class NoVideoStream(MediaError):
    code = "no_video_stream"


class NoFrames(MediaError):
    code = "no_frames"


class CorruptMedia(MediaError):
    code = "corrupt_video"


class TruncatedMedia(MediaError):
    code = "truncated_video"


class FrameTooLarge(MediaError):
    code = "frame_too_large"


class VideoTooLong(MediaError):
    code = "video_too_long"


class DecodeBudget(MediaError):
    code = "decode_budget_exceeded"


class BundleError(ContractError):
    """A bundle that must not be served. The message names the file at fault."""


class GoldenMismatch(BundleError):
    """The bundle's golden clip and title come out otherwise than at export: a library or a machine differs.

    Attributes:
        stage: the first that differs.
        gap: how far.
        tolerance: how far it may.
    """

    def __init__(
        self, stage: Literal["decode", "tokenisation", "inference"], gap: float, tolerance: float, unit: str
    ) -> None:
        super().__init__(f"{stage}: {gap:.3g} {unit}, over its tolerance of {tolerance:g}")
        self.stage = stage
        self.gap = gap
        self.tolerance = tolerance


class Stopped(ContractError):
    """Whoever asked for a decode wants it no more: it ended between two packets. Nobody is to blame."""

"""Weights to start from."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from contract.frozen import FrozenDocument, GrowingDocument

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

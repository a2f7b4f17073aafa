"""The model every contract document derives from: frozen, strict about names, digestible."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class FrozenDocument(BaseModel):
    """An immutable document that refuses unknown fields and has a content digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def digest(self) -> str:
        """SHA-256, in hex, of the document as canonical JSON (sorted keys, no spaces)."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

"""The models every contract document derives from: frozen, strict about names, digestible."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class FrozenDocument(BaseModel):
    """An immutable document that refuses unknown fields and has a content digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def digest(self) -> str:
        """SHA-256, in hex, of the document as canonical JSON (sorted keys, no spaces)."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class GrowingDocument(FrozenDocument):
    """A document whose later fields are left out while they have their defaults.

    What was written before a field existed keeps its digest, and artefacts that name it stay valid.
    """

    first_fields: ClassVar[frozenset[str]]
    """The fields it was first written with: always there."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {
            name: info.get_default(call_default_factory=True)
            for name, info in type(self).model_fields.items()
            if name not in self.first_fields
        }
        return {k: v for k, v in handler(self).items() if k not in defaults or getattr(self, k) != defaults[k]}

"""What files are read into: nothing in them is changed, and nothing unknown is passed over."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Refuses what it does not know, typos above all."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

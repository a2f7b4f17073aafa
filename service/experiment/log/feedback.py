"""Labels that come later -> Feedback records: what is asked of one, by HTTP and in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.decision import TaskKind, TaskSpec
from contract.decision_log import Feedback, name_hash

_TEXT = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=_TEXT)]
MAX_LABELS, MAX_ATTRIBUTES = 64, 16


class FeedbackItem(BaseModel):
    """What a video truly shows, for one task."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    feedback_id: Name
    """Yours: sent twice for the same task, it counts once."""
    decision_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """Of the reply that is spoken of. This or `video_id`."""
    video_id: str | None = Field(default=None, min_length=1, max_length=256, pattern=_TEXT)
    """Your name of the clip, as `POST /classify` had it."""
    task: Name
    """As in the reply."""
    labels: list[Name] = Field(max_length=MAX_LABELS)
    """The true ones: exactly one, or any number of a multi-label task."""
    source: Annotated[str, Field(min_length=1, max_length=64, pattern=_TEXT)]
    """Who says so: a queue of reviewers, an appeal, an audit."""
    sampled_with: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    """The probability with which the clip was chosen to be labelled."""
    views: int | None = Field(default=None, ge=0, le=1 << 53)
    """How often it was seen."""
    attributes: dict[Name, Name] = Field(default_factory=dict, max_length=MAX_ATTRIBUTES)
    """Slices it belongs to: country, language."""

    @model_validator(mode="after")
    def _names_one(self) -> FeedbackItem:
        if (self.decision_id is None) == (self.video_id is None):
            raise ValueError("name the video by exactly one of decision_id and video_id")
        return self

    def record(self, time_ms: int) -> Feedback:
        """As it is stored: the video's name as a hash."""
        fields = self.model_dump(exclude={"video_id", "labels"})
        video_hash = None if self.video_id is None else name_hash(self.video_id)
        return Feedback(time_ms=time_ms, video_hash=video_hash, labels=tuple(self.labels), **fields)


class LabelSets:
    """The labels of every task that some arm serves.

    Args:
        tasks: of all bundles.
    """

    def __init__(self, tasks: Iterable[TaskSpec]) -> None:
        self._labels: dict[str, set[str]] = {}
        self._many: set[str] = set()
        for task in tasks:
            self._labels.setdefault(task.name, set()).update(task.labels)
            if task.kind is TaskKind.MULTILABEL:
                self._many.add(task.name)

    def fault(self, item: FeedbackItem) -> str | None:
        """Why the item can be about none of the tasks; None where it can. Names the service's own words alone."""
        labels = self._labels.get(item.task)
        if labels is None:
            return f"task must be one of {', '.join(sorted(self._labels))}"
        if not labels.issuperset(item.labels):
            return f"labels of {item.task} must be among {', '.join(sorted(labels))}"
        if len(set(item.labels)) != len(item.labels):
            return "labels must differ"
        if item.task not in self._many and len(item.labels) != 1:
            return f"labels of {item.task} must be exactly one"
        return None


def read_item(given: Mapping[str, Any]) -> FeedbackItem | str:
    """The item, or what is wrong with it: fields and rules, nothing that was sent."""
    try:
        return FeedbackItem.model_validate(given)
    except ValidationError as error:
        return "; ".join(_fault(detail) for detail in error.errors()[:3])


def _fault(detail: Any) -> str:
    known = {*FeedbackItem.model_fields}
    where = ".".join(str(part) for part in detail["loc"] if part in known or isinstance(part, int))
    if detail["type"] == "extra_forbidden":
        return f"it has a field that feedback cannot have; it takes {', '.join(FeedbackItem.model_fields)}"
    said = str(detail["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said

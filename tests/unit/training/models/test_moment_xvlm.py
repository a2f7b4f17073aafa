"""What each task's logits depend on, and what they must not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.moment_model import BOTH, CLIP, SPEC, TASKS, TITLE, batch_of, moment_config, moment_model
from training.models.moment_xvlm import MomentScorer, MomentXVLM
from training.models.text_encoder import attention_bias

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model() -> MomentXVLM:
    return moment_model()


@torch.no_grad()
def logits(model: MomentXVLM, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return model(**inputs)


def other_text(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return inputs | {"input_ids": (inputs["input_ids"] * 7 + 3) % 60}


def other_clip(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return inputs | {"frames": 255 - inputs["frames"].flip(1)}


def without(inputs: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    return inputs | {f"{what}_present": torch.zeros_like(inputs[f"{what}_present"])}


def test_a_task_has_as_many_logits_as_it_says(model: MomentXVLM) -> None:
    found = logits(model, batch_of(3))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        task.name: (3, task.logits_width) for task in TASKS
    }


def test_a_title_moves_the_tasks_that_read_titles_alone(model: MomentXVLM) -> None:
    inputs = batch_of(3)
    before, after = logits(model, inputs), logits(model, other_text(inputs))
    assert torch.equal(before["clip"], after["clip"])
    assert not torch.allclose(before["title"], after["title"], atol=1e-3)
    assert not torch.allclose(before["both"], after["both"], atol=1e-3)
    assert torch.equal(before["clip"], logits(model, without(inputs, "text"))["clip"])


def test_a_clip_moves_the_tasks_that_read_clips_alone(model: MomentXVLM) -> None:
    inputs = batch_of(3)
    before, after = logits(model, inputs), logits(model, other_clip(inputs))
    assert torch.equal(before["title"], after["title"])
    assert not torch.allclose(before["clip"], after["clip"], atol=1e-5)
    assert not torch.allclose(before["both"], after["both"], atol=1e-5)
    assert torch.equal(before["title"], logits(model, without(inputs, "video"))["title"])


def test_nothing_is_read_of_an_absent_clip(model: MomentXVLM) -> None:
    inputs = without(batch_of(3), "video")
    before, after = logits(model, inputs), logits(model, other_clip(inputs))
    assert all(torch.equal(before[name], after[name]) for name in before)
    bias = model.moment_heads["clip"].bias.detach()
    torch.testing.assert_close(before["clip"], bias.expand(3, 1), **CLOSE)


def test_a_text_said_to_be_absent_is_not_read_by_the_hashed_path(model: MomentXVLM) -> None:
    inputs = without(batch_of(3), "text")
    represented = model.encode(**inputs)
    with_path, alone = model.logits(represented, **inputs), model.classify(represented)
    assert all(torch.equal(with_path[name], alone[name]) for name in alone)


def test_missing_modalities_are_told_apart(model: MomentXVLM) -> None:
    inputs = batch_of(2)
    whole, titles, clips = (
        logits(model, i)["both"] for i in (inputs, without(inputs, "video"), without(inputs, "text"))
    )
    for one, other in ((whole, titles), (whole, clips), (titles, clips)):
        assert not torch.allclose(one, other, atol=1e-4)
    assert all(torch.isfinite(value).all() for value in (whole, titles, clips))


@pytest.mark.parametrize("pooling", ["mean", "strongest"])
@pytest.mark.parametrize("bound", [0.0, 2.0])
def test_evidence_adds_up_to_the_logits_of_a_task_of_clips(pooling: str, bound: float) -> None:
    model = moment_model(moment_config(vision={"task_pooling": {"clip": pooling}, "bound": bound}))
    inputs = batch_of(3)
    with torch.no_grad():
        features = model.vision_encoder.trunk(inputs["frames"])
        evidence = model.evidence(features)
    assert set(evidence) == {"clip", "both"}
    assert evidence["clip"].shape == (3, 2, 1)
    assert evidence["both"].shape == (3, 2, BOTH.logits_width)
    torch.testing.assert_close(evidence["clip"].sum(dim=1), logits(model, inputs)["clip"], **CLOSE)


def scorer(pooling: str, bound: float = 0.0) -> MomentScorer:
    """Scores a moment by its only statistic."""
    made = MomentScorer([[[1]]], 1, pooling, bound)
    with torch.no_grad():
        made.linear.weight.fill_(1.0)
    return made


def moments(*values: float) -> Tensor:
    return torch.tensor([[9.0, value] for value in values])[None]


def test_of_what_is_to_be_seen_all_along_every_moment_counts_the_same() -> None:
    torch.testing.assert_close(scorer("mean")(moments(1.0, 3.0, -1.0))[0, :, 0], torch.tensor([1.0, 3.0, -1.0]) / 3)


def test_of_what_may_be_over_soon_the_strongest_moments_count_most() -> None:
    quiet, short = (scorer("strongest")(moments(*values)).sum() for values in ((0.0,) * 8, (0.0,) * 6 + (8.0, 8.0)))
    assert quiet == 0
    assert short > 7.5  # the mean would be 2
    shares = scorer("strongest")(moments(0.0, 0.0, 8.0, 8.0, 0.0))[0, :, 0]
    assert shares.argmax() == 2


def test_one_odd_moment_is_bounded() -> None:
    assert scorer("strongest", bound=2.0)(moments(0.0, 100.0, 0.0)).sum() <= 2.0


def test_what_a_moment_has_several_times_is_bounded_each_time_and_averaged() -> None:
    """Two statistics: one that the moment has twice, and one that it has once."""
    made = MomentScorer([[[0], [1]], [[2]]], 1, "strongest", 2.0)
    with torch.no_grad():
        made.linear.weight.copy_(torch.tensor([[1.0, 10.0]]))
    one_moment = torch.tensor([[[100.0, -100.0, 0.0]]])
    torch.testing.assert_close(made(one_moment).sum(), torch.tensor(0.0))
    both = torch.tensor([[[0.5, 0.25, 0.02]]])
    expected = (2 * torch.tanh(torch.tensor([0.35, 0.225]))).mean()
    torch.testing.assert_close(made(both).sum(), expected)


def test_how_far_a_moment_lies_from_the_clips_mean_can_count() -> None:
    made = scorer("mean")
    with torch.no_grad():
        made.linear.weight.zero_()
        made.deviation.weight.fill_(1.0)
    assert made(moments(2.0, 2.0, 2.0)).sum() == 0
    torch.testing.assert_close(made(moments(1.0, 3.0)).sum(), torch.tensor(1.0))


def test_tied_channels_share_the_weight_of_their_statistic() -> None:
    made = MomentScorer([[[0, 1, 2, 3]], [[4]]], 1, "mean", 0.0, tied=True)
    assert {name: tuple(p.shape) for name, p in made.named_parameters()} == {
        "linear.weight": (1, 2),
        "linear.bias": (1,),
    }
    with torch.no_grad():
        made.linear.weight.copy_(torch.tensor([[1.0, 10.0]]))
    standard = torch.tensor([[1.0, 2.0, 3.0, 2.0, 0.5], [0.0, 0.0, 0.0, 1.0, 0.0]])
    expected = torch.tensor([8.0 / 2 + 10 * 0.5, 1.0 / 2]) / 2
    torch.testing.assert_close(made(standard[None])[0, :, 0], expected)


def test_a_task_whose_channels_are_tied_is_named_in_the_preset() -> None:
    vision = {"statistics": ("mean", "swing_mean"), "tied_channels": ("clip",), "task_pooling": {"clip": "strongest"}}
    model = moment_model(moment_config(vision=vision))
    assert model.scorers["clip"].linear.in_features == 2
    assert model.scorers["both"].linear.in_features == model.vision_encoder.trunk.width
    inputs = batch_of(3)
    with torch.no_grad():
        shares = model.evidence(model.vision_encoder.trunk(inputs["frames"]))["clip"]
    torch.testing.assert_close(shares.sum(dim=1), logits(model, inputs)["clip"], **CLOSE)


def test_a_batch_gives_what_its_rows_give_alone(model: MomentXVLM) -> None:
    inputs = batch_of(4)
    inputs["video_present"] = torch.tensor([True, False, True, False])
    inputs["text_present"] = torch.tensor([True, True, False, True])
    together = logits(model, inputs)
    for row in range(4):
        alone = logits(model, {name: value[row : row + 1] for name, value in inputs.items()})
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][row], **CLOSE)


def test_padding_changes_nothing(model: MomentXVLM) -> None:
    inputs = batch_of(2)
    longer = inputs | {
        "input_ids": torch.cat([inputs["input_ids"], torch.full((2, 4), 17)], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.zeros((2, 4), dtype=torch.int64)], dim=1),
    }
    before, after = logits(model, inputs), logits(model, longer)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, **CLOSE)


def test_kept_statistics_give_what_the_frames_give(model: MomentXVLM) -> None:
    inputs = batch_of(3)
    frames = inputs.pop("frames")
    with torch.no_grad():
        kept = model.vision_encoder.trunk(frames)
    by_frames, by_features = (
        logits(model, inputs | {"frames": frames}),
        logits(model, inputs | {"vision_features": kept}),
    )
    assert all(torch.equal(by_frames[name], by_features[name]) for name in by_frames)


def test_kept_text_tokens_give_what_the_ids_give_even_in_training_mode() -> None:
    model = moment_model(moment_config(text={"frozen": True}))
    inputs = batch_of(3)
    with torch.no_grad():
        kept = model.text_encoder(inputs["input_ids"], attention_bias(inputs["attention_mask"]))
        assert torch.equal(
            kept, model.train().text_encoder(inputs["input_ids"], attention_bias(inputs["attention_mask"]))
        )
    model.eval()
    by_ids, by_tokens = logits(model, inputs), logits(model, inputs | {"text_features": kept})
    assert all(torch.equal(by_ids[name], by_tokens[name]) for name in by_ids)
    assert not any(parameter.requires_grad for parameter in model.text_encoder.parameters())


def test_a_task_reads_its_own_statistics_alone() -> None:
    model = moment_model(moment_config(vision={"task_statistics": {"clip": ("tremor",)}}))
    features = torch.randn(2, 2, model.vision_encoder.trunk.width)
    changed = features.clone()
    untouched = {i for (channels,) in model.vision_encoder.trunk.columns_of(["tremor"]) for i in channels}
    changed[:, :, [i for i in range(features.shape[-1]) if i not in untouched]] += 5
    inputs = batch_of(2)
    del inputs["frames"]
    before, after = (logits(model, inputs | {"vision_features": f}) for f in (features, changed))
    assert torch.equal(before["clip"], after["clip"])
    assert not torch.allclose(before["both"], after["both"], atol=1e-4)


def test_a_single_kind_of_task_needs_no_part_of_the_other() -> None:
    inputs = batch_of(2)
    only_clips = moment_model(tasks=(CLIP,))
    assert only_clips.readings == ("clip",)
    assert set(logits(only_clips, inputs)) == {"clip"}
    only_titles = moment_model(tasks=(TITLE,))
    assert only_titles.readings == ("text",)
    assert set(logits(only_titles, inputs)) == {"title"}


def test_standardised_statistics_of_the_training_rows_have_mean_0_and_deviation_1(model: MomentXVLM) -> None:
    encoder = moment_model().vision_encoder
    rows = torch.randn(40, 2, encoder.trunk.width) * 3 + 5
    rows[:, :, 0] = 2.0  # a statistic that never changes must not be divided by nothing
    encoder.standardise(rows)
    standard = (rows - encoder.mean_F) / encoder.deviation_F
    torch.testing.assert_close(standard.mean(dim=(0, 1)), torch.zeros(encoder.trunk.width), atol=1e-4, rtol=0)
    deviation = standard.flatten(0, 1).std(dim=0, unbiased=False)
    torch.testing.assert_close(deviation[1:], torch.ones(encoder.trunk.width - 1), atol=1e-3, rtol=0)
    assert deviation[0] == 0
    assert {"mean_F", "deviation_F"} <= set(encoder.state_dict())


def test_the_last_layers_of_each_task_are_its_classifiers(model: MomentXVLM) -> None:
    found = model.classifiers()
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "clip": (1, 17),
        "title": (1, model.heads["title"][-1].in_features + 1),
        "both": (3, model.heads["both"][-1].in_features + 1),
    }
    assert torch.equal(found["clip"][:, :-1], model.moment_heads["clip"].weight)


POOLED = {"frozen": True, "alone": "pooled"}


def test_pooled_a_title_is_read_linearly_past_the_cross_encoder() -> None:
    model = moment_model(moment_config(text=POOLED))
    inputs = batch_of(3)
    with torch.no_grad():
        tokens = model.text_encoder(inputs["input_ids"], attention_bias(inputs["attention_mask"]))
        mask = inputs["attention_mask"][:, :, None].float()
        mean = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        model.pooled_text.standardise(mean)
        standard = (mean - mean.mean(dim=0)) / mean.std(dim=0, unbiased=False)
        own = model.ngrams(inputs["input_ids"], inputs["attention_mask"])["title"]
        expected = model.heads["title"][0](standard.clamp(-4, 4)) + own
    found = logits(model, inputs)
    torch.testing.assert_close(found["title"], expected, **CLOSE)
    with torch.no_grad():
        for parameter in model.cross_encoder.parameters():
            parameter.add_(0.1)
    after = logits(model, inputs)
    assert torch.equal(after["title"], found["title"])
    assert not torch.allclose(after["both"], found["both"], atol=1e-4)


def test_pooled_nothing_is_read_of_an_absent_text() -> None:
    model = moment_model(moment_config(text=POOLED))
    absent = without(batch_of(3), "text")
    torch.testing.assert_close(logits(model, absent)["title"], model.heads["title"][0].bias.expand(3, 1), **CLOSE)


def test_a_pooled_head_starts_at_zero_and_is_the_tasks_classifier() -> None:
    torch.manual_seed(0)
    model = MomentXVLM(moment_config(text=POOLED), SPEC, TASKS)
    assert not model.heads["title"][0].weight.any()
    assert model.heads["both"][0].weight.any()
    assert {name: tuple(value.shape) for name, value in model.classifiers().items()}["title"] == (1, 17)


def test_pooled_text_needs_frozen_layers() -> None:
    with pytest.raises(ValueError, match=r"text\.alone pooled needs text\.frozen"):
        moment_config(text={"alone": "pooled"})
    with pytest.raises(ValueError, match=r"text\.ngram_weighting needs text\.ngram_buckets"):
        moment_config(text={"ngram_buckets": 0, "ngram_weighting": "tfidf"})

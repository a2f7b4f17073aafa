"""The benchmark of execution providers, where there is no GPU: what runs is measured, what does not says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.provider import SIZES, batch_of, run, table
from contract.bundle import Bundle, read_bundle
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(write_synthetic_bundle(Path(tmp_path_factory.mktemp("bundle")) / "bundle"))


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("providers", [["cpu", "cuda", "cuda-fp16"], ["cuda-fp16", "cuda", "cpu"]])
def test_a_provider_that_cannot_be_had_is_a_row_that_says_why(bundle: Bundle, providers: list[str]) -> None:
    result = run(bundle, providers, 2)
    found = result["providers"]
    assert found["cpu"]["golden_gap"] < result["tolerance"]
    assert set(found["cpu"]["ms"]) == {"1"}
    assert found["cpu"]["ratio"] == 1
    assert "serve-gpu" in found["cuda"]["error"]
    assert "no tower" in found["cuda-fp16"]["error"]
    page = table(result | {"device": "none"})
    assert [row.split(" | ")[0] for row in page.splitlines()[-3:]] == [f"| {provider}" for provider in providers]
    assert {row.count("|") for row in page.splitlines()[-5:]} == {5 + len(SIZES)}


def test_batches_are_laid_out_as_a_gpu_gets_them(bundle: Bundle) -> None:
    golden, length = bundle.golden.inputs, bundle.manifest.input_spec.max_text_tokens
    batch = batch_of(bundle, 16)
    assert {len(array) for array in batch.values()} == {16}
    assert batch["input_ids"].shape[1] == batch["attention_mask"].shape[1] == length
    known = golden["input_ids"].shape[1]
    np.testing.assert_array_equal(batch["input_ids"][: len(golden["input_ids"]), :known], golden["input_ids"])
    assert (batch["input_ids"][:, known:] == bundle.tokenizer.pad_id).all()
    assert not batch["attention_mask"][:, known:].any()

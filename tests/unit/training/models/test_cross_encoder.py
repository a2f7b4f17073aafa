"""The first token alone is what the whole forward pass gives for it."""

from __future__ import annotations

import pytest
import torch

from training.config import TextConfig
from training.models.cross_encoder import CrossEncoder
from training.models.text_encoder import attention_bias


def _encoder(layers: int) -> CrossEncoder:
    torch.manual_seed(0)
    config = TextConfig(
        vocab_size=30, embedding_size=16, hidden_size=16, heads=4, ffn_size=32, text_layers=0, cross_layers=layers
    )
    encoder = CrossEncoder(config, vision_width=24).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.5)  # biases and norms too
    return encoder


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_first_token_is_that_of_forward(layers: int) -> None:
    encoder = _encoder(layers)
    mask = torch.tensor([[1] * 7, [1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]])
    inputs = torch.randn(3, 7, 16), attention_bias(mask), torch.randn(3, 5, 24)
    with torch.no_grad():
        found, expected = encoder.first_token(*inputs), encoder(*inputs)[:, 0]
    assert found.shape == (3, 16)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_first_token_has_the_gradients_of_forward() -> None:
    encoder = _encoder(2)
    inputs = torch.randn(2, 4, 16), attention_bias(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])), torch.randn(2, 3, 24)
    parameters = list(encoder.parameters())
    found = torch.autograd.grad(encoder.first_token(*inputs).square().sum(), parameters)
    expected = torch.autograd.grad(encoder(*inputs)[:, 0].square().sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_masked_tokens_change_nothing_and_the_others_do() -> None:
    encoder = _encoder(1)
    text, vision = torch.randn(1, 4, 16), torch.randn(1, 3, 24)
    bias = attention_bias(torch.tensor([[1, 1, 0, 0]]))
    with torch.no_grad():
        first = encoder.first_token(text, bias, vision)
        for place, same in ((1, False), (2, True), (3, True)):
            other = text.clone()
            other[:, place] += 5.0
            assert torch.allclose(encoder.first_token(other, bias, vision), first, atol=1e-5) == same
        assert not torch.allclose(encoder.first_token(text, bias, vision.flip(-1)), first, atol=1e-3)

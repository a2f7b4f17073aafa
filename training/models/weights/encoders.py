"""Encoders that somebody else trained: a vision backbone and a BERT, loaded whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoBackbone, AutoModel

from training.config import PretrainedConfig, WeightSource
from training.models.moment_xvlm import MomentXVLM
from training.models.vision_trunk import AutoPictures
from training.models.weights.encoder_files import locate, weights_file
from training.models.weights.install import LoadReport, PretrainedError

TOKENIZER = "tokenizer.json"
_CLASSIFIER = ("_fc.", "classifier.", "head.", "pooler.", "layernorm.", "cls.")
"""Of a source's names: what stood behind the features there and has no place here."""


def load_encoders(model: MomentXVLM, config: PretrainedConfig, tokenizer: Path | None) -> LoadReport:
    """Fills backbone and text encoder; cross encoder, tokens and heads stay fresh.

    Args:
        model: changed in place.
        config: of kind ``encoders``.
        tokenizer: of the run; where its vocabulary is another than the source's, embeddings are taken piece by piece.

    Raises:
        PretrainedError: a source is missing, altered, damaged or does not fit. Nothing is left half loaded.
    """
    filled: dict[str, Tensor] = {}
    ignored: list[str] = []
    if config.vision is not None:
        found, unused = _vision_state(model, config.vision, config)
        filled |= found
        ignored += unused
    if config.text is not None:
        found, unused = _text_state(model, config.text, config, tokenizer)
        filled |= found
        ignored += unused
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in filled.items():
            own[name].copy_(tensor)
    names = [name for name, _ in model.named_parameters()]
    loaded = tuple(name for name in own if name in filled)
    return LoadReport(loaded, tuple(name for name in names if name not in filled), tuple(sorted(ignored)))


def _vision_state(
    model: MomentXVLM, given: WeightSource, config: PretrainedConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """Our names -> tensors, buffers of BatchNorm included, and the names that have no place here."""
    pictures = model.vision_encoder.trunk.pictures
    prefix, target = "vision_encoder.trunk.pictures.", pictures
    if isinstance(pictures, AutoPictures):
        prefix, target = prefix + "backbone.", pictures.backbone
        state = _hub_backbone(given, config)
    else:
        state = read_state(given, config)
    return _fitted(target, state, prefix, given.source)


def _text_state(
    model: MomentXVLM, given: WeightSource, config: PretrainedConfig, tokenizer: Path | None
) -> tuple[dict[str, Tensor], list[str]]:
    """The embeddings and the first layers of a BERT; its later layers are of no use and named so."""
    state = {name.removeprefix("bert."): tensor for name, tensor in read_state(given, config).items()}
    encoder, renamed, ignored = model.text_encoder, {}, []
    count = len(encoder.layers)
    for name, tensor in state.items():
        layer = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if layer is None:
            renamed[name] = tensor
        elif int(layer[1]) < count:
            renamed[f"layers.{layer[1]}.{layer[2]}"] = tensor
        else:
            ignored.append(name)
    words = "embeddings.word_embeddings.weight"
    if words in renamed and tokenizer is not None:
        renamed[words] = _rows_of(renamed[words], given, config, tokenizer)
    positions = "embeddings.position_embeddings.weight"
    if positions in renamed:
        renamed[positions] = renamed[positions][: encoder.embeddings.position_embeddings.num_embeddings]
    found, unused = _fitted(encoder, renamed, "text_encoder.", given.source)
    return found, ignored + unused


def _rows_of(words_VD: Tensor, given: WeightSource, config: PretrainedConfig, tokenizer: Path) -> Tensor:
    """The source's embeddings in the order of the run's vocabulary.

    Raises:
        PretrainedError: the source brings no tokenizer, or lacks a piece.
    """
    home = locate(given.source, config)
    wanted = Tokenizer.from_file(str(tokenizer)).get_vocab()
    path = None if home is None else (home if home.is_dir() else home.parent) / TOKENIZER
    if path is None or not path.is_file():
        if len(wanted) == len(words_VD):
            return words_VD
        raise PretrainedError(f"{given.source}: brings no {TOKENIZER}, and the run's vocabulary is another one")
    known = Tokenizer.from_file(str(path)).get_vocab()
    lacking = sorted(set(wanted) - set(known))
    if lacking:
        raise PretrainedError(f"{given.source}: knows no piece {lacking[0]!r} ({len(lacking)} in all)")
    order = sorted(wanted, key=wanted.__getitem__)
    return words_VD[torch.tensor([known[piece] for piece in order])]


def _fitted(
    target: nn.Module, state: dict[str, Tensor], prefix: str, source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Every parameter and buffer of the target out of the state.

    Raises:
        PretrainedError: missing, misshapen or not finite tensors; all of them are listed.
    """
    wanted = dict(target.state_dict())
    optional = {name for name in wanted if name.endswith(("num_batches_tracked", "position_ids", "token_type_ids"))}
    missing = sorted(set(wanted) - set(state) - optional)
    misshapen = [
        f"{name} {tuple(state[name].shape)}, the model's is {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    fitting = [name for name in wanted if name in state and state[name].shape == wanted[name].shape]
    broken = [name for name in fitting if not torch.isfinite(state[name].float()).all()]
    unknown = sorted(n for n in state if n not in wanted and not _droppable(n))
    faults = {"missing": missing, "of another shape": misshapen, "not finite": broken, "unexpected": unknown}
    if any(faults.values()):
        listed = "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in faults.items() if names)
        raise PretrainedError(f"{source}: {listed}")
    taken = {prefix + name: state[name] for name in wanted if name in state}
    return taken, sorted(set(state) - set(wanted))


def _droppable(name: str) -> bool:
    return name.startswith(_CLASSIFIER) or name.endswith(("position_ids", "num_batches_tracked"))


def read_state(given: WeightSource, config: PretrainedConfig) -> dict[str, Tensor]:
    """Name -> tensor of a file of tensors (``.safetensors`` or torch's), a folder's, or a hub id's.

    Raises:
        PretrainedError: it cannot be read, or holds more than tensors.
    """
    path = locate(given.source, config)
    if path is None:
        return dict(_from_hub(AutoModel, given.source).state_dict())
    file = weights_file(path)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # a dependency of transformers

            return dict(load_file(file))
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise types of their own for a damaged file
        if not isinstance(error, OSError | RuntimeError | EOFError | ValueError | pickle.UnpicklingError) and (
            type(error).__name__ != "SafetensorError"
        ):
            raise
        reason = str(error).split("\n", 1)[0]
        raise PretrainedError(f"{file}: not a file of tensors, or cut short: {reason}") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise PretrainedError(f"{file}: holds no state: a dictionary of tensors")
    return state


def _hub_backbone(given: WeightSource, config: PretrainedConfig) -> dict[str, Tensor]:
    """The library's own names of a backbone's tensors: a plain model's are renamed by it on loading."""
    path = locate(given.source, config)
    return dict(_from_hub(AutoBackbone, given.source if path is None else str(path)).state_dict())


def _from_hub(loader: Any, source: str) -> nn.Module:
    try:
        model, info = loader.from_pretrained(source, output_loading_info=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise PretrainedError(f"{source}: {str(error).split(chr(10), 1)[0]}") from error
    absent = sorted(name for name in info["missing_keys"] if not name.startswith(_CLASSIFIER))
    if absent:
        raise PretrainedError(f"{source}: {len(absent)} missing: {', '.join(absent)}")
    return model


def module_digest(module: nn.Module) -> str:
    """SHA-256 over every tensor of a module: names what a frozen module gives."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

"""Reads pretrained weights from files: official X-VLM and X2-VLM checkpoints, Hugging Face Swin and BERT."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from contract.bundle import file_digest
from training.config import PretrainedConfig, RunConfig, SourceName
from training.models.df_xvlm import DFXVLM
from training.models.moment_xvlm import MomentXVLM
from training.models.weights.encoder_files import encoder_digest, locate, require_encoder
from training.models.weights.encoders import TOKENIZER, load_encoders
from training.models.weights.install import LoadReport, PretrainedError, install
from training.models.weights.official_keys import SWIN_PREFIX, Translation, text_name, translate_official
from training.models.xvlm import XVLM

_LOG = logging.getLogger(__name__)
_TYPES = {"swin": ("swin",), "bert": ("bert", "electra")}
"""Source -> the library's model types whose layers are the same as ours."""
_WEIGHTS = "model.safetensors"
_NOT_VISION = (r"text_encoder\.", r"cross_encoder\.")
_NOT_TEXT = (r"vision_encoder\.",)
_NO_CROSS_ATTENTION = (r"cross_encoder\.layers\.\d+\.crossattention\.",)


def require_usable(config: RunConfig, vocabulary: Path | None) -> None:
    """Raises, before anything is decoded or trained, where the pretrained weights or the vocabulary are not there.

    Raises:
        PretrainedError: a source is not usable, or text weights come without their vocabulary.
    """
    for given in (config.pretrained, config.kd_teacher_pretrained):
        if given is None:
            continue
        require_sources(given)
        if given.reads_text and vocabulary is None and source_tokenizer(given) is None:
            raise PretrainedError("pretrained text weights need the vocabulary they were trained with: --vocabulary")


def require_sources(config: PretrainedConfig) -> None:
    """Raises, without reading weights, where a source is missing or of the wrong kind or digest.

    Raises:
        PretrainedError: one is not. The message names it.
    """
    for given in (config.vision, config.text):
        if given is not None:
            require_encoder(given, config)
    for name, source in config.sources.items():
        if name == "checkpoint":
            if not Path(source).is_file():
                raise PretrainedError(f"{source}: there is no such file (pretrained.checkpoint)")
        else:
            model_type = _hub_config(name, source, config).model_type
            if model_type not in _TYPES[name]:
                raise PretrainedError(
                    f"{source}: holds a {model_type}, pretrained.{name} must be {' or '.join(_TYPES[name])}"
                )
        _require_digest(name, source, config)


def load_pretrained(model: nn.Module, config: PretrainedConfig, tokenizer: Path | None = None) -> LoadReport | None:
    """Fills a model's vision, text and cross layers; a teacher's own layers stay fresh.

    The generators of random numbers are left as they were, so that what follows is drawn as without weights.

    Args:
        model: a student or a teacher; changed in place.
        config: where weights come from.
        tokenizer: the run's ``tokenizer.json``; ``encoders`` takes word embeddings by its pieces.

    Returns:
        None for a model that has no X-VLM in it: a teacher of privileged features alone.

    Raises:
        PretrainedError: a source is missing, altered, or does not fit the architecture.
    """
    xvlm = model.xvlm if isinstance(model, DFXVLM) else model
    if not isinstance(xvlm, XVLM | MomentXVLM):
        return None
    if isinstance(xvlm, MomentXVLM) != (config.kind == "encoders"):
        raise PretrainedError("pretrained.kind encoders is for a model with vision.backbone, and no other kind is")
    require_sources(config)
    if isinstance(xvlm, MomentXVLM):
        return _logged(load_encoders(xvlm, config, tokenizer))
    with torch.random.fork_rng(devices=[]):
        reports = [_load(name, source, xvlm, config) for name, source in config.sources.items()]
    loaded = {name for report in reports for name in report.loaded}
    names = [name for name, _ in xvlm.named_parameters()]
    ignored = tuple(name for report in reports for name in report.ignored)
    return _logged(
        LoadReport(tuple(n for n in names if n in loaded), tuple(n for n in names if n not in loaded), ignored)
    )


def _logged(report: LoadReport) -> LoadReport:
    counts = (len(report.loaded), len(report.fresh), len(report.ignored))
    _LOG.info("pretrained: %d tensors loaded, %d fresh, %d of the source unused", *counts)
    return report


def source_tokenizer(config: PretrainedConfig) -> Path | None:
    """The ``tokenizer.json`` that the text encoder's folder brings; None where there is none.

    Raises:
        PretrainedError: the source is missing.
    """
    home = None if config.text is None else locate(config.text.source, config)
    path = None if home is None else (home if home.is_dir() else home.parent) / TOKENIZER
    return path if path is not None and path.is_file() else None


def read_official(path: Path) -> dict[str, Tensor]:
    """The state of an official file: ``{'model': state, 'config': ...}`` or the state itself.

    Raises:
        PretrainedError: the file cannot be read, or holds more than tensors and plain values.
    """
    try:
        document: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n", 1)[0]
        raise PretrainedError(f"{path}: not a checkpoint of tensors and plain values: {reason}") from error
    state = document["model"] if isinstance(document, dict) and isinstance(document.get("model"), dict) else document
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise PretrainedError(f"{path}: holds no state: a dictionary of tensors, bare or under 'model'")
    return state


def _load(name: str, source: str, model: XVLM, config: PretrainedConfig) -> LoadReport:
    text_layers = len(model.text_encoder.layers)
    if name == "checkpoint":
        translation = translate_official(read_official(Path(source)), text_layers=text_layers, parts=config.parts)
        absent = {"vision": _NOT_TEXT, "text": _NOT_VISION}
        fresh = [pattern for part, patterns in absent.items() if part not in config.parts for pattern in patterns]
        return install(model, translation, source=source, may_be_fresh=fresh)
    state = _hub_state(source, config)
    if name == "swin":
        return install(model, _swin(state), source=source, may_be_fresh=_NOT_VISION)
    return install(model, _bert(state, text_layers), source=source, may_be_fresh=(*_NOT_TEXT, *_NO_CROSS_ATTENTION))


def _swin(state: dict[str, Tensor]) -> Translation:
    """Our vision encoder holds the library's own module: only the prefix differs."""
    translation = Translation()
    for key, tensor in state.items():
        translation.add(SWIN_PREFIX + key, key, tensor)
    return translation


def _bert(state: dict[str, Tensor], text_layers: int) -> Translation:
    """The first layers to the text encoder, the others to the cross encoder, which brings its own cross attention."""
    translation = Translation()
    for key, tensor in state.items():
        if key.startswith("pooler."):
            translation.ignored.append(key)
        elif key.startswith("embeddings_project."):  # ELECTRA's
            translation.add(f"text_encoder.project.{key.removeprefix('embeddings_project.')}", key, tensor)
        elif (name := text_name(f"text_encoder.{key}", text_layers)) is not None:
            translation.add(name, key, tensor)
        else:
            translation.unexpected.append(key)
    return translation


def _hub_state(source: str, config: PretrainedConfig) -> dict[str, Tensor]:
    try:
        model, info = AutoModel.from_pretrained(
            source, local_files_only=config.local_files_only, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise PretrainedError(f"{source}: {error}") from error
    absent = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if absent:
        raise PretrainedError(f"{source}: {len(absent)} missing: {', '.join(absent)}")
    return dict(model.named_parameters())


def _hub_config(name: str, source: str, config: PretrainedConfig) -> Any:
    try:
        return AutoConfig.from_pretrained(source, local_files_only=config.local_files_only)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise PretrainedError(f"{source}: cannot be read (pretrained.{name}): {reason}") from error


def source_digests(config: PretrainedConfig) -> dict[str, str | None]:
    """Source -> SHA-256 of its file (of a folder: of its ``model.safetensors``); None where no such file is at hand."""
    paths = {name: _weights_path(name, source) for name, source in config.sources.items()}
    digests = {name: file_digest(path) if path.is_file() else None for name, path in paths.items()}
    encoders = {"vision": config.vision, "text": config.text}
    return digests | {name: encoder_digest(given, config) for name, given in encoders.items() if given is not None}


def source_licences(config: PretrainedConfig) -> dict[str, str]:
    """Source -> the licence that the preset states of it; of kind ``encoders`` alone."""
    encoders = {"vision": config.vision, "text": config.text}
    return {name: given.licence for name, given in encoders.items() if given is not None}


def _weights_path(name: SourceName, source: str) -> Path:
    return Path(source) if name == "checkpoint" else Path(source) / _WEIGHTS


def _require_digest(name: SourceName, source: str, config: PretrainedConfig) -> None:
    wanted = config.sha256.get(name)
    if wanted is None:
        return
    path = _weights_path(name, source)
    if not path.is_file():
        raise PretrainedError(f"{path}: there is no such file, and pretrained.sha256.{name} is of one")
    if file_digest(path) != wanted:
        raise PretrainedError(f"{path}: not the file whose SHA-256 is pretrained.sha256.{name}")

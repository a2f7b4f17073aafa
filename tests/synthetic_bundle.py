"""Generated test data: tiny valid bundles and tiny real media files. Nothing here needs torch.

write_synthetic_bundle   a directory that ``contract.bundle.read_bundle`` accepts, whose logits depend on
                         every frame (and on their order), on every word, and on which modalities are there
write_synthetic_reference   a score reference into such a bundle
rewrite_manifest         a change of its bundle.json, as somebody makes it who knows of the digests
write_clip               a real clip with moving content
write_audio_only, write_truncated_clip, write_clip_without_frames, write_huge_picture   hostile ones
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from contract.bundle import (
    CLIP_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    TOKENIZER_FILE,
    BundleManifest,
    Golden,
    Provenance,
    file_digest,
    read_manifest,
    write_golden,
)
from contract.bundle_manifest import WHOLE
from contract.decision import DecisionPolicy, Modality, TaskKind, TaskPolicy, TaskSpec
from contract.example import INPUT_NAMES, assemble, collate
from contract.input_spec import InputSpec
from contract.model_graphs import ModelGraphs
from contract.reference import SCORE_BOUNDS, ScoreReference, TaskReference
from contract.text import TextTokenizer
from contract.video import Frames, VideoProbe
from model_export.golden import record_replay

OPSET = 18
WORDS = ("a", "fight", "drone", "bird", "news", "you", "won", "t", "believe", "this", "cat", "in", "the", "park")
TASKS = (
    TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent"), modalities=(Modality.VIDEO,)),
    TaskSpec(
        name="restricted_object",
        kind=TaskKind.MULTICLASS,
        labels=("none", "bird", "drone"),
        flag_labels=("drone",),
        modalities=(Modality.VIDEO,),
    ),
    TaskSpec(name="clickbait", kind=TaskKind.BINARY, labels=("plain", "clickbait"), modalities=(Modality.TEXT,)),
    TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("news", "sport", "music")),
)
SPEC = InputSpec(frames=4, frame_size=32)


def write_synthetic_bundle(
    directory: Path,
    *,
    name: str = "synthetic",
    version: str = "0.1.0",
    method: str = "cpfd",
    tasks: tuple[TaskSpec, ...] = TASKS,
    input_spec: InputSpec = SPEC,
    seed: int = 0,
    hidden: int = 16,
    format_version: Literal[1, 2] = 2,
) -> Path:
    """``directory``, now holding a valid bundle of about 40 KB whose weights are drawn from ``seed``.

    Args:
        directory: made if missing.
        name, version, method: for the manifest.
        tasks: what the model answers.
        input_spec: what it reads; the default takes 4 frames of 32x32.
        seed: of the weights.
        hidden: width of the one hidden layer; raise it to make inference slow.
        format_version: of the bundle; 1 holds no golden clip.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _tokenizer().save(str(directory / TOKENIZER_FILE))
    tokenizer = TextTokenizer(directory / TOKENIZER_FILE, input_spec)
    onnx.save(_model(tasks, input_spec, tokenizer.vocab_size, seed, hidden), str(directory / MODEL_FILE))
    session = onnxruntime.InferenceSession(str(directory / MODEL_FILE), providers=["CPUExecutionProvider"])
    policy = DecisionPolicy(tasks={task.name: _policy(task) for task in tasks})
    graphs = ModelGraphs(tasks, {WHOLE: session})
    recorded = record_replay(graphs, input_spec, tokenizer, tasks, policy) if format_version > 1 else None
    golden = _golden(session, tokenizer, tasks, input_spec)
    write_golden(directory / GOLDEN_FILE, golden, None if recorded is None else recorded.pixels)
    files = [MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE, MODEL_CARD_FILE]
    if recorded is not None:
        (directory / CLIP_FILE).write_bytes(recorded.clip)
        files.append(CLIP_FILE)
    (directory / MODEL_CARD_FILE).write_text(f"# {name}\n\nRandom weights, for tests only.\n", encoding="utf-8")
    manifest = BundleManifest(
        format_version=format_version,
        name=name,
        version=version,
        architecture="synthetic",
        tasks=tasks,
        input_spec=input_spec,
        policy=policy,
        opset=OPSET,
        input_names=INPUT_NAMES,
        output_names=tuple(task.output_name for task in tasks),
        parity_max_abs_difference=0.0,
        golden_tolerance=1e-3,
        replay=None if recorded is None else recorded.replay,
        files={file: file_digest(directory / file) for file in files},
        provenance=Provenance(
            method=method,
            manifest_digest="0" * 64,
            config_digest="1" * 64,
            checkpoint_digest="2" * 64,
            seed=seed,
            created="2026-11-20",
        ),
    )
    (directory / MANIFEST_FILE).write_text(manifest.written(), encoding="utf-8")
    return directory


def rewrite_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes bundle.json as somebody would who also brings the digests up to date."""
    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    manifest["files"] = {name: file_digest(directory / name) for name in manifest["files"]}
    change(manifest)
    (directory / MANIFEST_FILE).write_text(json.dumps(manifest))


def write_synthetic_reference(directory: Path, **counts: tuple[int, ...]) -> ScoreReference:
    """The reference, now in the bundle: ``counts`` of each task's bins, else one row in each of violence's."""
    manifest = read_manifest(directory)[0]
    given = counts or {"violence": (1,) * len(SCORE_BOUNDS)}
    tasks = {task: TaskReference(counts=found) for task, found in given.items()}
    reference = ScoreReference(
        model_digest=manifest.model_digest,
        policy_digest=manifest.policy.digest(),
        manifest_digest="0" * 64,
        split="val",
        rows=max(task.rows for task in tasks.values()),
        tasks=tasks,
    )
    (directory / REFERENCE_FILE).write_text(reference.model_dump_json(), encoding="utf-8")
    files = manifest.files | {REFERENCE_FILE: file_digest(directory / REFERENCE_FILE)}
    changed = manifest.model_copy(update={"files": files})
    (directory / MANIFEST_FILE).write_text(changed.written(), encoding="utf-8")
    return reference


def _tokenizer() -> Tokenizer:
    vocab = {token: i for i, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _policy(task: TaskSpec) -> TaskPolicy:
    names = task.flagged_by if task.kind is TaskKind.MULTILABEL else ("flag",)
    return TaskPolicy(temperature=1.5, thresholds=dict.fromkeys(names, 0.5))


def _model(tasks: tuple[TaskSpec, ...], spec: InputSpec, vocab: int, seed: int, hidden: int) -> Any:
    """Mean colour of each frame and mean word vector -> one tanh layer -> a linear head for each task."""
    rng = np.random.default_rng(seed)
    t, s = spec.frames, spec.frame_size
    weights = {
        "W_video": rng.normal(0, 2, (t * 3, hidden)),
        "E_text": rng.normal(0, 2, (vocab, hidden)),
        "scale": np.asarray(1 / 255),
        **{f"W_{task.name}": rng.normal(0, 1, (hidden, task.logits_width)) for task in tasks},
    }
    constants = [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in weights.items()]
    integers = {"hw": [2, 3], "flat": [0, t * 3], "last": [2], "tokens": [1], "column": [1]}
    constants += [numpy_helper.from_array(np.asarray(a, np.int64), n) for n, a in integers.items()]
    node = helper.make_node
    nodes = [
        node("Cast", ["frames"], ["frames_float"], to=TensorProto.FLOAT),
        node("ReduceMean", ["frames_float", "hw"], ["colour"], keepdims=0),
        node("Reshape", ["colour", "flat"], ["colour_flat"]),
        node("Mul", ["colour_flat", "scale"], ["colour_unit"]),
        node("MatMul", ["colour_unit", "W_video"], ["seen"]),
        node("Gather", ["E_text", "input_ids"], ["words"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["mask_column"]),
        node("Mul", ["words", "mask_column"], ["words_masked"]),
        node("ReduceSum", ["words_masked", "tokens"], ["words_sum"], keepdims=0),
        node("ReduceSum", ["mask", "tokens"], ["words_count"], keepdims=1),
        node("Div", ["words_sum", "words_count"], ["read"]),
        *[
            made
            for flag, side in (("video_present", "seen"), ("text_present", "read"))
            for made in (
                node("Cast", [flag], [f"{flag}_float"], to=TensorProto.FLOAT),
                node("Unsqueeze", [f"{flag}_float", "column"], [f"{flag}_column"]),
                node("Mul", [side, f"{flag}_column"], [f"{side}_masked"]),
            )
        ],
        node("Add", ["seen_masked", "read_masked"], ["joined"]),
        node("Tanh", ["joined"], ["hidden"]),
        *[node("MatMul", ["hidden", f"W_{task.name}"], [task.output_name]) for task in tasks],
    ]
    graph_inputs = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, ["B", t, s, s, 3]),
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "L"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["B", "L"]),
        helper.make_tensor_value_info("video_present", TensorProto.BOOL, ["B"]),
        helper.make_tensor_value_info("text_present", TensorProto.BOOL, ["B"]),
    ]
    graph_outputs = [
        helper.make_tensor_value_info(task.output_name, TensorProto.FLOAT, ["B", task.logits_width]) for task in tasks
    ]
    graph = helper.make_graph(nodes, "synthetic", graph_inputs, graph_outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _golden(
    session: onnxruntime.InferenceSession, tokenizer: TextTokenizer, tasks: tuple[TaskSpec, ...], spec: InputSpec
) -> Golden:
    """Three examples: both modalities, video alone, text alone."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, spec.frames_shape, np.uint8)
    probe = VideoProbe("mp4", "h264", 64, 48, (), 1.0, spec.frames, False)
    frames = Frames(pixels, tuple(float(i) for i in range(spec.frames)), probe)
    field = spec.text_fields[0].name
    said, silent = tokenizer.encode({field: "a fight in the park"}), tokenizer.encode({})
    examples = [assemble(frames, said, spec), assemble(frames, silent, spec), assemble(None, said, spec)]
    inputs = collate(examples, tokenizer.pad_id)
    outputs = session.run([task.output_name for task in tasks], inputs)
    return Golden(inputs, {task.name: logits for task, logits in zip(tasks, outputs, strict=True)})


def write_clip(
    path: Path,
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (96, 64),
    fps: int = 10,
    codec: Literal["libx264", "mpeg4", "libvpx-vp9", "mjpeg", "wrapped_avframe"] = "libx264",
    seed: int = 0,
) -> Path:
    """``path``, now a clip of moving coloured noise; the container follows its suffix.

    Args:
        path: .mp4, .mkv, .avi, .webm, or .y4m for ``wrapped_avframe``: a format that no service reads.
        seconds: its length.
        size: width and height in pixels, even numbers.
        fps: pictures a second.
        codec: FFmpeg's name of an encoder.
        seed: clips of different seeds have different pictures.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    base: NDArray[np.uint8] = rng.integers(0, 256, (height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(max(1, round(seconds * fps))):
            picture = np.roll(base, 2 * i, axis=1) // 2 + np.uint8(i * 8 % 128)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def write_audio_only(path: Path, *, seconds: float = 1.0) -> Path:
    """``path``, now an .mp4 or .m4a that holds a tone and no picture."""
    rate = 16_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate)
        samples = np.sin(np.arange(int(rate * seconds)) * 0.05).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def write_truncated_clip(path: Path, *, share: float = 0.5, **clip: Any) -> Path:
    """``path``, now the first ``share`` of the bytes of a clip (see ``write_clip``)."""
    data = write_clip(path, **clip).read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def write_clip_without_frames(path: Path) -> Path:
    """``path``, now an .avi that declares a video stream and holds no picture of it."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def write_huge_picture(path: Path) -> Path:
    """``path``, now an .mp4 of one 7680x4320 picture: few bytes, many pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
        frame = av.VideoFrame(7680, 4320, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path

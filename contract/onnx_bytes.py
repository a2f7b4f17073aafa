"""Whether an ONNX graph is whole: no weights in files beside it, which no digest of the graph would name.

The graph is walked as protobuf (``onnx/onnx.proto``), so that serving needs no ONNX library for it. Numbers are the
fields that can hold a tensor, directly or deeper.
"""

from __future__ import annotations

from collections.abc import Iterator

_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
_OPERATOR, _TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 4, 8, 13, 14
_COMPILED_ELSEWHERE = b"EPContext"
"""The operator that names a file of an accelerator's own."""
_VARINT, _64_BITS, _BYTES, _32_BITS = 0, 1, 2, 5


def outside_of(model: bytes) -> list[str]:
    """Names of the tensors and operators whose data lie outside the graph's own bytes; empty where it is whole.

    Raises:
        ValueError: the bytes are no ONNX graph.
    """
    found: list[str] = []
    graphs = 0
    waiting: list[tuple[str, memoryview]] = [("model", memoryview(model))]
    while waiting:
        kind, message = waiting.pop()
        name, outside = b"", False
        for number, value in _fields(message):
            if isinstance(value, memoryview) and number in _INSIDE[kind]:
                waiting.append((_INSIDE[kind][number], value))
                graphs += kind == "model" and number == 7
            elif kind == "tensor" and number == _TENSOR_NAME and isinstance(value, memoryview):
                name = bytes(value)
            elif kind == "tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION):
                outside |= value != 0
            elif kind == "node" and number == _OPERATOR and isinstance(value, memoryview):
                name = bytes(value)
                outside = name == _COMPILED_ELSEWHERE
        if outside:
            found.append(name.decode("utf-8", "replace") or "unnamed")
    if not graphs:
        raise ValueError("not an ONNX graph")
    return sorted(found)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or the bytes of what is longer."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_64_BITS, _32_BITS):
            length = 8 if wire == _64_BITS else 4
        else:
            raise ValueError("not an ONNX graph")
        if at + length > len(message):
            raise ValueError("not an ONNX graph: it is cut off")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number, and where the next begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("not an ONNX graph: it is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("not an ONNX graph")

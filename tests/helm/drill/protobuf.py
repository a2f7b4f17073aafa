"""A Secret out of Kubernetes' protobuf: helm writes its releases so, and in no other way.

Only the fields that a release has are read. Encoding: https://protobuf.dev/programming-guides/encoding/; field numbers:
k8s.io/api/core/v1/generated.proto and its kin.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

MAGIC = b"k8s\0"
RAW = 2  # of runtime.Unknown
METADATA, DATA, TYPE = 1, 2, 3  # of Secret
NAME, LABELS = 1, 11  # of ObjectMeta
KEY, VALUE = 1, 2  # of a map's entry
VARINT, BYTES = 0, 2


def secret(body: bytes) -> dict[str, Any]:
    """The Secret as the JSON API would show it."""
    raw = dict(fields(body.removeprefix(MAGIC)))[RAW]
    metadata = dict(fields(raw))[METADATA]
    data = entries(raw, DATA).items()
    labels = entries(metadata, LABELS).items()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": dict(fields(raw))[TYPE].decode(),
        "metadata": {
            "name": dict(fields(metadata))[NAME].decode(),
            "labels": {key: value.decode() for key, value in labels},
        },
        "data": {key: base64.b64encode(value).decode() for key, value in data},
    }


def entries(message: bytes, number: int) -> dict[str, bytes]:
    """A field that is a map."""
    pairs = [dict(fields(payload)) for found, payload in fields(message) if found == number]
    return {pair[KEY].decode(): pair.get(VALUE, b"") for pair in pairs}


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each field that has bytes; numbers are passed over."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == BYTES:
            size = varint()
            yield number, message[at : at + size]
            at += size
        elif kind == VARINT:
            varint()
        else:
            raise ValueError(f"field {number} is of wire type {kind}")

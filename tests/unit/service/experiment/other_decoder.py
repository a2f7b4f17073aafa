"""A decode worker whose decoder scales otherwise than the one that the bundle was exported with.

Started as ``python -m`` in the place of ``service.decoding.worker``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from contract.video import pyav_backend
from service.decoding import worker as decode_worker


def shrunk(frame: Any, spec: InputSpec) -> NDArray[np.uint8]:
    return pyav_backend.resize(pyav_backend.rgb(frame), spec.frame_size, "bilinear")


if __name__ == "__main__":
    pyav_backend.shrunk = shrunk
    decode_worker.main(sys.argv[1:])

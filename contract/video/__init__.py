"""File -> probe, limits, chosen frames. The only package that names a decoder.

    limits     what a clip may cost
    probe      container and packet index -> VideoProbe, or a typed refusal; nothing is decoded
    cost       container, input spec -> what a decode will go through; no decoder runs
    sampling   probe, input spec -> which presentation timestamps are wanted
    pyav_backend, decord_backend   wanted timestamps -> RGB pictures
    decode     all of the above -> Frames

Decoders run native code on hostile bytes: a service calls ``decode`` in a process that it can kill.
"""

from contract.video.cost import DecodeCost, decode_cost
from contract.video.decode import Frames, decode
from contract.video.limits import Backend, DecodeLimits
from contract.video.probe import VideoProbe, probe

__all__ = ["Backend", "DecodeCost", "DecodeLimits", "Frames", "VideoProbe", "decode", "decode_cost", "probe"]

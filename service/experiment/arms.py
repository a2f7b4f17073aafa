"""Arms: each a verified bundle, its loaded model and the micro-batcher in front of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass

from contract.bundle import Bundle, read_bundle
from contract.errors import BundleError
from service.errors import NotReady, StartError
from service.experiment.configuration import ArmSettings
from service.experiment.golden import GoldenReplays
from service.experiment.reference import show_reference
from service.logs import FIELDS
from service.metrics import Metrics
from service.settings import LaneSettings
from service.stages.inference import ArmModel, Lanes
from service.stages.microbatch import MicroBatcher

log = logging.getLogger(__name__)


def read_bundles(arms: tuple[ArmSettings, ...]) -> dict[str, Bundle]:
    """Arm name -> its verified bundle.

    Raises:
        StartError: one must not be served; the message names arm and file.
    """
    try:
        return {arm.name: read_bundle(arm.bundle) for arm in arms}
    except BundleError as error:
        raise StartError(str(error)) from error


@dataclass(frozen=True)
class Arm:
    """One arm, ready to answer."""

    name: str
    bundle: Bundle
    model: ArmModel
    batcher: MicroBatcher


class Arms:
    """Every arm of the experiment.

    Args:
        bundles: by arm name, verified.
        lanes: shared by all.
        lane_settings: how models are loaded.
        metrics: where it shows.
    """

    def __init__(
        self,
        bundles: dict[str, Bundle],
        lanes: Lanes,
        lane_settings: LaneSettings,
        metrics: Metrics,
    ) -> None:
        self._lanes = lanes
        self._lane_settings = lane_settings
        self._metrics = metrics
        self._arms: dict[str, Arm] = {}
        self.bundles = bundles
        for arm in bundles:
            metrics.coalesced.labels(arm)

    async def prepare(self, replays: GoldenReplays, *, shadowed: bool = False) -> None:
        """Loads, warms and proves every arm, one after the other.

        Args:
            replays: replays golden clips.
            shadowed: whether arms are to read what others have read.

        Raises:
            StartError: one cannot be loaded or does not answer as it was recorded.
        """
        for name, bundle in self.bundles.items():
            began = time.monotonic()
            model = await asyncio.to_thread(ArmModel, bundle, self._lane_settings)
            worst = await asyncio.to_thread(model.prove)
            gaps = await replays.prove(name, bundle, model)
            batcher = MicroBatcher(
                name,
                model.infer,
                model.buckets[-1],
                self._lanes,
                self._metrics,
                expected_run_s=model.seconds[1],
                expected_text_run_s=model.text_seconds,
            )
            batcher.start()
            self._arms[name] = Arm(name, bundle, model, batcher)
            manifest = bundle.manifest
            self._metrics.model_info.labels(name, manifest.name, manifest.version, bundle.digest, model.provider).set(1)
            show_reference(self._metrics, name, bundle.reference)
            fields = {"arm": name, "bundle": bundle.digest[:12], "provider": model.provider, "golden_gap": worst}
            fields["replay_gaps"] = gaps
            fields["duration_ms"] = round((time.monotonic() - began) * 1000, 1)
            log.info("arm ready", extra={FIELDS: fields})
        if shadowed:
            self._share_towers()

    def _share_towers(self) -> None:
        """Where two arms have one vision tower, what it gives for an answer is kept for the shadow."""
        towers = Counter(arm.model.vision_digest for arm in self._arms.values())
        for arm in self._arms.values():
            if arm.model.vision_digest is not None and towers[arm.model.vision_digest] > 1:
                arm.model.keep_features()

    def of(self, name: str) -> Arm:
        """The arm of this name. Raises NotReady while it is not loaded."""
        arm = self._arms.get(name)
        if arm is None:
            raise NotReady("the service is still starting: send the request again", retry_after_s=2)
        return arm

    def faults(self, stuck_after_s: float) -> list[str]:
        """Why arms cannot answer now; empty if all can."""
        faults = [f"arm {name} is not loaded yet" for name in self.bundles if name not in self._arms]
        for arm in self._arms.values():
            if not arm.batcher.alive():
                faults.append(f"arm {arm.name}: its micro-batcher is down")
            if arm.batcher.oldest_run_s() > stuck_after_s:
                faults.append(f"arm {arm.name}: a batch has been running for over {stuck_after_s:g} s")
        return faults

    async def close(self) -> None:
        for arm in self._arms.values():
            await arm.batcher.close()

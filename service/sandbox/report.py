"""What decode workers run without, for people (one line in the log) and machines (a gauge)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from service.logs import FIELDS
from service.metrics import Metrics
from service.sandbox.protections import Protection

log = logging.getLogger(__name__)


class SandboxReport:
    """Tells each different outcome once.

    Args:
        metrics: where it shows.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[str, str | None] | None = None

    def tell(self, applied: Mapping[str, str | None]) -> None:
        """Takes what a worker said when it was ready: protection -> why it lacks, None where it is in force."""
        known = {protection.value: applied.get(protection.value, "not reported") for protection in Protection}
        if known == self._told:
            return
        self._told = known
        lacking = {protection: why for protection, why in known.items() if why is not None}
        for protection in known:
            self._metrics.decode_protection.labels(protection).set(protection not in lacking)
        in_force = [protection for protection in known if protection not in lacking]
        # Clusters refuse network namespaces as a rule; the filter refuses sockets without them.
        level = logging.WARNING if lacking.keys() - {Protection.NETWORK_NAMESPACE} else logging.INFO
        said = f"decode workers run without {', '.join(lacking)}" if lacking else "decode workers are confined"
        log.log(level, said, extra={FIELDS: {"stage": "decode", "in_force": in_force, "lacking": lacking}})

"""``python -m benchmarks.chaos.attacker NAME HOST PORT PID CLIP SECONDS``: one attack, at the lowest priority.

At that priority what honest callers lose is lost to the service, not to the processor that the attacker burns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.chaos.registry import Target, scenarios


def main() -> None:
    """Prints the attack's counts as JSON."""
    name, host, port, pid, clip, seconds = sys.argv[1:]
    os.nice(19)
    target = Target(host, int(port), int(pid), Path(clip).read_bytes(), time.monotonic() + float(seconds))
    sys.stdout.write(json.dumps(scenarios()[name].attack(target)))


if __name__ == "__main__":
    main()

"""The service with decode workers that obey a clip (``benchmarks.faulty_worker``). For drills only."""

from __future__ import annotations

import sys

from service.__main__ import main
from service.decoding import start

if __name__ == "__main__":
    start._MODULE = "benchmarks.faulty_worker"
    sys.exit(main())

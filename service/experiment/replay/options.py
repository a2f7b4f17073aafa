"""What ``python -m service.experiment replay`` can be told; it loads no model runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

REPLAY_EXAMPLE = """\
example:
  python -m service.experiment replay --log /var/log/cpfd --media archive --bundle bundles/xvlm-baseline \\
    --bundle bundles/cpfd-student --texts texts.jsonl --limit 200
"""


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``replay``."""
    parser.add_argument("--log", type=Path, required=True, help="directory of the decision log")
    parser.add_argument("--media", type=Path, required=True, help="directory of the videos, found by SHA-256")
    parser.add_argument("--bundle", type=Path, required=True, action="append", help="of an arm; give it again for more")
    parser.add_argument("--texts", type=Path, help='JSON lines: {"media": SHA-256 or null, "title": ..., ...}')
    parser.add_argument("--decision", action="append", metavar="ID", help="only this one; give it again for more")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="no more decisions than this")
    parser.add_argument(
        "--epsilon", type=float, help="how far a probability may lie from the log; else as each bundle says"
    )

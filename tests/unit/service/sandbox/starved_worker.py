"""A decode worker behind a filter that refuses a call which decoding needs, as another C library's might be."""

from __future__ import annotations

import sys

from service.decoding import worker as decode_worker
from service.sandbox import policy

if __name__ == "__main__":
    policy._FREE = policy._FREE.replace(" lseek ", " ")
    decode_worker.main(sys.argv[1:])

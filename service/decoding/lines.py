"""What the service and its decode processes say to each other: lines, and open files with them."""

from __future__ import annotations

import array
import asyncio
import json
import socket
from typing import Any

MAX_LINE = 65_536


def receive(connection: socket.socket, most_files: int) -> tuple[Any, list[int]] | None:
    """The next line's JSON and the files that came with it, whose descriptors are then the caller's; None at the end.

    Args:
        connection: blocking; the service's side is trusted.
        most_files: so many come with a line at the most.
    """
    data, descriptors = b"", array.array("i")
    while not data.endswith(b"\n"):
        more, received, _, _ = socket.recv_fds(connection, MAX_LINE, most_files)
        descriptors.extend(received)
        if not more:
            return None
        data += more
    return json.loads(data), list(descriptors)


async def read_line(connection: socket.socket) -> bytes | None:
    """The next line, on the event loop; None where the other side is gone, or the line has no end.

    Args:
        connection: non-blocking; nothing that comes is trusted.
    """
    loop, line = asyncio.get_running_loop(), b""
    while not line.endswith(b"\n"):
        try:
            more = await loop.sock_recv(connection, MAX_LINE)
        except OSError:
            return None
        if not more or len(line) > MAX_LINE:
            return None
        line += more
    return line

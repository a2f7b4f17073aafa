"""What the system knows of a connection that no event tells."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

_TCP_CLOSED = 7
"""TCP_CLOSE among the states of TCP_INFO (linux/tcp_states.h)."""


def has_unread_bytes(transport: asyncio.Transport) -> bool:
    """Whether something has come that was not read yet."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = transport.get_extra_info("socket").fileno()
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(struct.calcsize("i"))))
        return bool(count)
    return False


def was_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has answered with a reset: seen also where the connection is neither read nor written."""
    with contextlib.suppress(OSError, AttributeError):
        state = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return bool(state[0] == _TCP_CLOSED)
    return False

"""Landlock: the kernel's own refusal of files, TCP connections and signals (``linux/landlock.h``)."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from service.sandbox.kernel import system_call

_ASK_VERSION = 1
_READ_FILE = 1 << 2
_KINDS_OF_FILE_ACCESS = {1: 13, 2: 14, 3: 15, 4: 15}
_NEWEST_KINDS = 16
"""Of access to files, known from version 5 on."""
_TCP = 0b11  # bind, connect
_BEYOND = 0b11  # abstract sockets of others, signals to others
_RULE_PATH_BENEATH = 1


def confine_files(readable: Path | None) -> None:
    """Refuses this process every file that it has not open yet, TCP, and signals to others, as far as the kernel can.

    Files in memory that have no name stay reachable. New privileges must have been given up before.

    Args:
        readable: a directory whose files may still be opened for reading.

    Raises:
        OSError: the kernel has no Landlock, or something refuses it.
    """
    version = system_call("landlock_create_ruleset", 0, 0, _ASK_VERSION)
    attributes = _held(_attributes(version))
    ruleset = system_call("landlock_create_ruleset", ctypes.addressof(attributes), len(attributes), 0)
    try:
        if readable is not None:
            _allow_reading(ruleset, readable)
        system_call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _attributes(version: int) -> bytes:
    """``struct landlock_ruleset_attr``, as long as the version knows it."""
    files = (1 << _KINDS_OF_FILE_ACCESS.get(version, _NEWEST_KINDS)) - 1
    fields = [files, *([_TCP] if version >= 4 else []), *([_BEYOND] if version >= 6 else [])]
    return struct.pack(f"={len(fields)}Q", *fields)


def _allow_reading(ruleset: int, directory: Path) -> None:
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rule = _held(struct.pack("=Qi", _READ_FILE, descriptor))  # struct landlock_path_beneath_attr
        system_call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(descriptor)


def _held(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))

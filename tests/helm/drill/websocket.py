"""The server's half of `kubectl exec` over a WebSocket: a handshake, what the command printed, its status, the end."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from http.server import BaseHTTPRequestHandler

PROTOCOL = "v5.channel.k8s.io"
STDOUT, STATUS = b"\x01", b"\x03"
BINARY, CLOSE = 0x82, 0x88


def frame(kind: int, payload: bytes) -> bytes:
    """One unmasked frame."""
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
    return bytes([kind]) + size + payload


def answer_exec(handler: BaseHTTPRequestHandler, printed: str) -> None:
    """Tells the client that its command printed this and ended well."""
    key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
    handler.send_header("Sec-WebSocket-Protocol", PROTOCOL)
    handler.end_headers()
    done = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Success"}).encode()
    handler.wfile.write(frame(BINARY, STDOUT + printed.encode()) + frame(BINARY, STATUS + done))
    handler.wfile.write(frame(CLOSE, struct.pack(">H", 1000)))
    handler.wfile.flush()
    handler.close_connection = True

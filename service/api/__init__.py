"""The HTTP edge: edge (request id, log line, last resort), routes, schemas, problem (RFC 9457)."""

"""Connections, from the socket to the ASGI app: everything a stranger can do before a route sees the request.

    listener    accepts, and answers also where there is no descriptor or no place left
    capacity    who holds a place, in all and by peer; who gives way
    connection  one connection's life: its states, the timer of each, the bytes it may bring
    kernel      what the system knows of a connection that no event tells
    head        a request's head, bounded, as an ASGI scope
    exchange    one request and its answer, as the app sees them
    refusal     an answer that no route gives
    uploads     permits for bodies on their way in, apart from those for work
    server      uvicorn's server with this listener and with a drain

``docs/adr/0015-connections.md`` says why this is our own and what of uvicorn it keeps.
"""

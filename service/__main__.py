"""python -m service: settings -> app -> server. Exit 0 after a drain, 1 where it must not serve."""

from __future__ import annotations

import logging
import sys

from service.app import Service, create_app
from service.errors import StartError
from service.logs import configure_logs, say
from service.sandbox.kernel import hide_process
from service.sandbox.protections import Protection
from service.settings import Settings, read_settings
from service.wire.listener import bind
from service.wire.server import DrainingServer

log = logging.getLogger("service")


def _hide(settings: Settings) -> None:
    """Closes this process, whose memory holds uploads and credentials, to others of the same user."""
    if Protection.HIDDEN in settings.decode.sandbox.omitted:
        return
    try:
        hide_process()
    except OSError as error:
        log.warning("the service is not hidden from processes of its own user: %s", error.strerror)


def main() -> int:
    """Serves until told to stop; returns the exit code."""
    try:
        settings = read_settings()
        writer = configure_logs(settings.log_level, settings.log_queue_lines)
        _hide(settings)
        app = create_app(settings)
        service: Service = app.state.service
        writer.on_drop = service.metrics.log_lines_dropped.inc
        server = DrainingServer(app, service, bind(settings.host, settings.port))
    except StartError as error:
        return _refused(error)
    server.run()
    if service.failure is not None:
        return _refused(service.failure)
    writer.flush()
    return 0 if server.started else 1


def _refused(error: StartError) -> int:
    say(f"cpfd: {error.detail}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

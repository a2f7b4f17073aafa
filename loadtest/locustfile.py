"""What Locust loads: ``locust -f loadtest/locustfile.py --run-file RUN.json [--headless | --master | --worker]``.

``python -m loadtest run`` writes the run file and starts Locust with it.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.generator.collector import Collector, Shape
from loadtest.generator.users import REPORT, Session, Source, report_of
from loadtest.run_file import RunFile

__all__ = ["Shape", "Source"]
EXTEND = "cpfd-extend"
"""The master's message that a stage takes longer; Locust gives it to the only process, too."""


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--run-file",
        env_var="LOADTEST_RUN_FILE",
        required=True,
        include_in_web_ui=False,
        help="the run, as python -m loadtest writes it",
    )


@events.init.add_listener
def _wire(environment: Environment, **_: Any) -> None:
    assert environment.parsed_options is not None
    runner = environment.runner
    assert runner is not None
    # Without a UI, Locust comes to its own SIGTERM handler only after the shape has ended.
    gevent.signal_handler(signal.SIGTERM, runner.quit)
    run = RunFile.model_validate_json(Path(environment.parsed_options.run_file).read_text(encoding="utf-8"))
    session = None if isinstance(runner, MasterRunner) else Session(run, environment)
    if session is not None:
        Source.session = session
        environment.events.test_start.add_listener(lambda **_: session.begin(_worker(environment)))
        runner.register_message(EXTEND, lambda msg, **_: session.extend(**msg.data))
    if isinstance(runner, WorkerRunner):
        environment.events.report_to_master.add_listener(
            lambda client_id, data: data.update({REPORT: report_of(Source.session)})
        )
        return
    collector = Collector(run, session)
    Shape.collector = collector

    def announce(stage: int, seconds: float) -> None:
        runner.send_message(EXTEND, {"stage": stage, "seconds": seconds})

    environment.events.test_start.add_listener(lambda **_: collector.begin(announce))
    environment.events.worker_report.add_listener(collector.on_report)
    environment.events.quitting.add_listener(lambda **_: collector.write())


def _worker(environment: Environment) -> int | None:
    """The worker's index, which the master gives it when they meet; None where this is the only process."""
    return environment.runner.worker_index if isinstance(environment.runner, WorkerRunner) else None

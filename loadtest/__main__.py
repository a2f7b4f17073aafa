"""python -m loadtest demo | run | corpus. Exit 0: the objectives hold; 1: they do not; 2: bad usage; 3: inconclusive.

python -m loadtest demo                                       against a service that it starts and stops
python -m loadtest run --host http://127.0.0.1:8000 --shape soak --rate 5 --seconds 600
python -m loadtest corpus --out clips
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

from loadtest.objectives import ObjectivesError, read_objectives
from loadtest.report.files import JUNIT, REPORT, RESULTS
from loadtest.run import RunFailed, is_loopback, run_and_judge, run_locust
from loadtest.run_file import RunFile
from loadtest.shapes import SHAPES, Plan, make_plan
from loadtest.target.probe import ProbeError, closed_loop_rate, find_ids, wait_until_ready
from loadtest.target.service_process import ServiceFailed, running_service
from loadtest.traffic.corpus import Corpus, CorpusError, Recipe, build_corpus, load_corpus
from loadtest.traffic.mix import DEFAULT_WEIGHTS, Kind
from loadtest.verdict.judge import ExitCode
from loadtest.verdict.results import Results

CACHE = Path(".cache/loadtest")
_PROBE_S = 4.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    in_flight, timeout_s = (RunFile.model_fields[name].default for name in ("max_in_flight", "timeout_s"))
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="start a service, test it for a minute, stop it")
    run = commands.add_parser("run", help="test a service that is running")
    for command, seconds in ((demo, 48.0), (run, 120.0)):
        command.add_argument("--shape", choices=SHAPES, default="steps")
        command.add_argument(
            "--seconds",
            type=float,
            default=seconds,
            help="of the whole plan; steps may take up to twice as long (default: %(default)g)",
        )
        command.add_argument("--rate", default="auto", help="reference rate, requests/s; auto: what a closed loop gets")
        command.add_argument("--arm", help="of the shape ramp-arm")
        command.add_argument("--objectives", type=Path, default=Path("configs/objectives.yaml"))
        command.add_argument("--corpus", type=Path, help="a directory of clips (default: a generated one)")
        command.add_argument("--mix", type=_mix, default={}, help="weights, such as form=1,hostile=0; the rest stay")
        command.add_argument("--seed", type=int, help="of the mix and of the arrivals")
        command.add_argument("--max-in-flight", type=int, default=in_flight, help="for each process")
        command.add_argument(
            "--timeout", type=float, default=timeout_s, help="seconds of silence (default: %(default)g)"
        )
        command.add_argument("--out", type=Path, default=CACHE / "latest", help="for the results")
    run.add_argument("--host", action="append", required=True, help="base URL; again for more, taken in turn")
    run.add_argument(
        "--allow-remote", action="store_true", help="the host may be another machine, and its owner agrees"
    )
    run.add_argument("--wait-for", action="append", default=[], help="a URL to wait for, such as http://.../readyz")
    run.add_argument("--wait-seconds", type=float, default=600.0, help="how long (default: %(default)g)")
    run.add_argument("--master", action="store_true", help="gather from workers; they need the same arguments")
    run.add_argument("--worker", action="store_true", help="send for a master")
    run.add_argument("--expect-workers", type=int, default=1, help="of a master (default: %(default)d)")
    run.add_argument("--master-host", default="127.0.0.1", help="of a worker")
    run.add_argument("--master-port", type=int, default=5557, help="of a master or worker (default: %(default)d)")
    corpus = commands.add_parser("corpus", help="write a corpus of generated clips")
    corpus.add_argument("--out", type=Path, required=True)
    corpus.add_argument("--sizes", type=_sizes, default=Recipe().sizes, help="such as 320x180,1280x720")
    corpus.add_argument("--seconds", type=_numbers, default=Recipe().seconds, help="such as 1,3,15")
    corpus.add_argument("--copies", type=int, default=1, help="different clips of each codec, size and length")
    return parser


def _mix(text: str) -> dict[Kind, float]:
    return {Kind(name): float(weight) for name, _, weight in (part.partition("=") for part in text.split(","))}


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(w), int(h)) for w, _, h in (part.partition("x") for part in text.split(",")))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _corpus(options: argparse.Namespace) -> Corpus:
    if options.corpus is not None:
        return load_corpus(options.corpus)
    recipe = Recipe()
    return load_corpus(build_corpus(CACHE / f"corpus-{recipe.digest()}", recipe))


def _plan(options: argparse.Namespace, hosts: list[str], corpus: Corpus) -> Plan:
    if options.rate == "auto":
        callers = 2 * (os.cpu_count() or 1) * len(hosts)
        _say(f"closed loop of {callers} callers for {_PROBE_S:g} s")
        rate = closed_loop_rate(hosts, corpus, callers=callers, seconds=_PROBE_S)
        _say(f"reference rate: {rate:.3g} requests/s")
    else:
        rate = float(options.rate)
    return make_plan(options.shape, per_s=rate, seconds=options.seconds, arm=options.arm)


def _test(options: argparse.Namespace, hosts: list[str], *, role: list[str], quiet: bool = False) -> int:
    """Runs against ``hosts``; a worker (``quiet``) only sends."""
    objectives, corpus = read_objectives(options.objectives), _corpus(options)
    plan = _plan(options, hosts, corpus)
    options.out.mkdir(parents=True, exist_ok=True)
    run = RunFile(
        hosts=tuple(hosts),
        corpus=corpus.directory.resolve(),
        plan=plan,
        record=(options.out / "record.json").resolve(),
        weights=dict(DEFAULT_WEIGHTS) | options.mix,
        ids_by_arm=find_ids(hosts, options.arm) if options.arm else {},
        timeout_s=options.timeout,
        max_in_flight=options.max_in_flight,
        extend_s=plan.may_extend_s,
        seed=options.seed,
    )
    if quiet:
        return run_locust(run, options.out, role)
    more = f", and up to {plan.may_extend_s:g} s more where a queue is not decided" if plan.may_extend_s else ""
    _say(f"{plan.shape}: {len(plan.stages)} stages, {plan.total_s:g} s{more}")
    results = run_and_judge(run, objectives, options.out, about={"hosts": ", ".join(hosts)}, extra=role)
    _tell(results, options.out)
    return int(results.verdict.exit_code)


def _tell(results: Results, out: Path) -> None:
    """The verdict in words on stderr, and as JSON on stdout."""
    verdict = results.verdict
    for check in verdict.checks:
        _say(f"{'holds' if check.passed else 'DOES NOT HOLD'}: {check.sentence()}")
    for reason in verdict.generator_reasons:
        _say(f"the generator was at its limit: {reason}")
    _say(verdict.capacity.sentence())
    found = {
        "outcome": verdict.exit_code.name.lower(),
        "capacity_per_s": verdict.capacity.per_s,
        "capacity_undecided_per_s": verdict.capacity.undecided_per_s,
        "failed": [check.sentence() for check in verdict.checks if not check.passed],
        "files": [str(out / name) for name in (RESULTS, JUNIT, REPORT)],
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(f"loadtest: {text}\n")
    sys.stderr.flush()


def _run(options: argparse.Namespace) -> int:
    remote = [host for host in options.host if not is_loopback(host)]
    if remote and not options.allow_remote:
        _say(f"{', '.join(remote)} is not this machine: add --allow-remote if its owner agrees to the load")
        return 2
    if (options.master or options.worker) and (options.rate == "auto" or (options.master and options.worker)):
        _say("a process is a master or a worker, and both need the same --rate, as a number")
        return 2
    wait_until_ready(options.wait_for, options.wait_seconds)
    role: list[str] = []
    if options.master:
        role = ["--master", "--master-bind-port", str(options.master_port)]
        role += ["--expect-workers", str(options.expect_workers)]
    if options.worker:
        role = ["--worker", "--master-host", options.master_host, "--master-port", str(options.master_port)]
    return _test(options, options.host, role=role, quiet=options.worker)


def _demo(options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the service is stopped, too
    _say("starting the service")
    with running_service(options.out / "service.log") as url:
        return _test(options, [url], role=[])


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "corpus":
        return _make_corpus(options)
    if importlib.util.find_spec("locust") is None:
        _say("Locust is not installed: pip install 'cpfd[loadtest]'")
        return 2
    try:
        return _run(options) if options.command == "run" else _demo(options)
    except (ObjectivesError, CorpusError, ValueError) as error:
        _say(str(error))
        return 2
    except (ProbeError, RunFailed, ServiceFailed) as error:
        _say(str(error))
        return int(ExitCode.FAILED)


def _make_corpus(options: argparse.Namespace) -> int:
    try:
        recipe = Recipe(sizes=options.sizes, seconds=options.seconds, copies=options.copies)
        corpus = load_corpus(build_corpus(options.out, recipe))
    except CorpusError as error:
        _say(str(error))
        return 2
    found = {"directory": str(options.out), "clips": len(corpus.good), "hostile": len(corpus.hostile)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

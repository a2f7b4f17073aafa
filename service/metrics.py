"""Every Prometheus object of the service. Base units, bounded labels, one registry for each app.

python -m service.metrics --markdown     prints docs/metrics.md
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from contract.reference import SCORE_BOUNDS

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0)
RATIOS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
ROUTES = frozenset(
    {"/classify", "/feedback", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/experiments/{name}"}
)
OTHER_ROUTE = "other"
NO_ARM = "none"


def route_label(path: str) -> str:
    """The path if it is one of ours, else ``other``: strangers cannot add series."""
    if path.startswith("/experiments/"):
        return "/experiments/{name}"
    return path if path in ROUTES else OTHER_ROUTE


class Metrics:
    """The objects, and the registry they are exposed from."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "cpfd_requests",
            "Requests by route, code (ok or the problem's code), arm (none before assignment) and outcome "
            "(answered, refused, shed, failed, gone; expired: the caller asked for less time than the default, and it "
            "did not suffice).",
            "route",
            "code",
            "arm",
            "outcome",
        )
        self.request_duration = self._histogram(
            "cpfd_request_duration_seconds", "From the first byte of a request to its answer.", SECONDS, "route"
        )
        self.stage_duration = self._histogram(
            "cpfd_stage_duration_seconds", "Time in each stage; waits are stages of their own.", SECONDS, "stage"
        )
        self.batch_size = self._histogram("cpfd_batch_size", "Clips in each batch that ran.", SIZES, "arm")
        self.queue_depth = self._gauge("cpfd_queue_depth", "Clips that wait for an inference lane.", "arm")
        self.decode_queue_depth = self._gauge("cpfd_decode_queue_depth", "Clips that wait for a decode worker.")
        self.queue_seconds_of_work = self._gauge(
            "cpfd_queue_seconds_of_work",
            "Predicted seconds until the accepted work is done, and the turns of callers who were sent away and are "
            "expected back: scale on this.",
        )
        self.stage_seconds_of_work = self._gauge(
            "cpfd_stage_seconds_of_work", "Predicted seconds until a stage's accepted work is done.", "stage"
        )
        self.connections = self._gauge("cpfd_connections", "Open connections.")
        self.connections_ended = self._counter(
            "cpfd_connections_ended", "Connections that this side ended for want of time, bytes or room.", "reason"
        )
        self.uploads = self._gauge("cpfd_uploads", "Bodies on their way in.")
        self.upload_bytes = self._gauge("cpfd_upload_bytes", "Bytes reserved for those bodies.")
        self.uploads_given_up = self._counter(
            "cpfd_uploads_given_up", "Bodies that came too slowly (answered 408), by reason.", "reason"
        )
        self.log_lines_dropped = self._counter(
            "cpfd_log_lines_dropped", "Log lines that nobody read in time from stderr."
        )
        self.inflight_requests = self._gauge("cpfd_inflight_requests", "Requests that hold a permit to work.")
        self.inflight_bytes = self._gauge("cpfd_inflight_bytes", "Body bytes of those requests.")
        self.shed = self._counter("cpfd_shed", "Requests refused at admission, by reason.", "reason")
        self.price_error = self._histogram(
            "cpfd_decode_price_error_ratio", "Seconds that a decode took over those predicted.", RATIOS
        )
        self.unpriced_clips = self._counter(
            "cpfd_unpriced_clips", "Clips priced by their size, since nobody had time to look at them."
        )
        self.put_last = self._counter(
            "cpfd_put_last", "Requests put after all others, since most work for their address was for nobody."
        )
        self.promises = self._counter(
            "cpfd_retry_promises", "Callers told when to come back: kept (came as told) or missed.", "outcome"
        )
        self.coalesced = self._counter(
            "cpfd_coalesced", "Requests that shared the work of an equal one in flight.", "arm"
        )
        self.cancelled = self._counter(
            "cpfd_cancelled", "Requests whose client left, by the stage it left in.", "stage"
        )
        self.decode_worker_restarts = self._counter(
            "cpfd_decode_worker_restarts", "Decode workers replaced, by reason.", "reason"
        )
        self.decode_workers_alive = self._gauge(
            "cpfd_decode_workers_alive",
            "Decode workers that take jobs; two more than decode at the same time are kept.",
        )
        self.decode_start_failures = self._gauge(
            "cpfd_decode_start_failures", "Starts in a row that failed, of the worker that fails most stubbornly."
        )
        self.decode_protection = self._gauge(
            "cpfd_decode_protection",
            "1 where decode workers run under this protection of the sandbox, 0 where they do not.",
            "protection",
        )
        self.quarantine_hits = self._counter("cpfd_quarantine_hits", "Clips refused because they ended workers before.")
        self.batcher_restarts = self._counter(
            "cpfd_batcher_restarts", "Micro-batchers restarted after a defect.", "arm"
        )
        self.arm_assignments = self._counter(
            "cpfd_arm_assignments", "Requests assigned to each arm of each experiment.", "experiment", "arm"
        )
        self.arm_stopped = self._gauge(
            "cpfd_arm_stopped", "1 where a guardrail has taken the arm out of the experiment.", "experiment", "arm"
        )
        self.guardrail_evidence = self._gauge(
            "cpfd_guardrail_evidence_ratio",
            "Evidence that an arm breaks a guardrail, as a share of what stops it, on a log scale: 1 and over is a "
            "breach. It may be looked at all the time.",
            "experiment",
            "arm",
            "guardrail",
        )
        self.sample_ratio_evidence = self._gauge(
            "cpfd_sample_ratio_evidence_ratio",
            "Evidence that units reach the arms otherwise than by their weights, on the same scale: 1 and over is a "
            "mismatch.",
            "experiment",
        )
        self.stop_file_errors = self._counter(
            "cpfd_stop_file_errors", "Times the file of stopped arms could not be read or written."
        )
        self.shadow_rate = self._gauge("cpfd_shadow_rate", "Share of the work that other arms are to do as well.")
        self.shadows = self._counter(
            "cpfd_shadows",
            "Shadows of each arm: attempted, and how they ended: done, shed (a caller needed the lane, or a newer one "
            "the room), skipped (the arm reads other frames), stopped (the arm is), failed.",
            "arm",
            "outcome",
        )
        self.shadow_disagreements = self._counter(
            "cpfd_shadow_disagreements",
            "Shadows that decided a task otherwise than the arm that was asked.",
            "arm",
            "task",
        )
        self.score = self._histogram(
            "cpfd_score", "Flag scores of supported tasks: their drift shows here.", SCORE_BOUNDS, "arm", "task"
        )
        self.reference_score_share = self._gauge(
            "cpfd_reference_score_share",
            "Share of held-out flag scores above `above` and up to `le`, as the arm's bundle records them (half a row "
            "added to each bin). Absent where the bundle holds no reference.",
            "arm",
            "task",
            "le",
            "above",
        )
        self.reference_rows = self._gauge("cpfd_reference_rows", "Held-out rows behind that reference.", "arm", "task")
        self.flagged = self._counter("cpfd_flagged", "Verdicts that raised a flag.", "arm", "task")
        self.log_records = self._counter(
            "cpfd_log_records", "Records that the decision log holds for good, by table.", "table"
        )
        self.log_records_lost = self._counter(
            "cpfd_log_records_lost",
            "Records that the decision log does not hold although something happened, by reason.",
            "reason",
        )
        self.log_failing = self._gauge("cpfd_log_failing", "1 while the decision log cannot be written.")
        self.log_group_size = self._histogram("cpfd_log_group_size", "Appends that one commit served.", SIZES)
        self.log_commit_duration = self._histogram(
            "cpfd_log_commit_duration_seconds", "From a group of records to their being on the disk.", SECONDS
        )
        self.ready = self._gauge("cpfd_ready", "1 while /readyz answers 200.")
        self.build_info = self._gauge("cpfd_build_info", "Always 1; the versions at work.", "version", "onnxruntime")
        self.model_info = self._gauge(
            "cpfd_model_info", "Always 1; the bundle behind each arm.", "arm", "name", "version", "digest", "provider"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def exposition(self) -> bytes:
        """The text that a scrape reads."""
        return generate_latest(self.registry)


def metrics_markdown() -> str:
    """docs/metrics.md: every metric, its kind, labels and meaning."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python -m service.metrics --markdown`; do not edit. Served at `/metrics`, of",
        "`metrics_port` where that is set.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    found = [m for m in vars(Metrics()).values() if isinstance(m, MetricWrapperBase)]
    for metric in found:
        kind, name = metric._type, metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "-"
        lines.append(f"| `{name}` | {kind} | {labels} | {metric._documentation} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints docs/metrics.md."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(description="Prints the metrics' documentation.")
    parser.add_argument("--markdown", action="store_true", required=True, help="as docs/metrics.md")
    parser.parse_args()
    sys.stdout.write(metrics_markdown())


if __name__ == "__main__":
    main()

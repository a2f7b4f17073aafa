"""Grafana dashboards, one for each question. helm/generate.py writes them; every metric is one of docs/metrics.md."""

from __future__ import annotations

from dashboard_parts import (  # found beside this file
    CLASSIFY,
    DONE,
    OWN,
    Json,
    dashboard,
    increase,
    panel,
    quantile,
    rate,
)


def _up() -> Json:
    failed = rate("cpfd_requests_total", "", f'{CLASSIFY},outcome="failed"')
    everything = rate("cpfd_requests_total", "", CLASSIFY)
    return dashboard(
        "cpfd-up",
        "cpfd: is it up?",
        [
            panel("Pods ready", "none", ("ready", f"sum(cpfd_ready{{{OWN}}})"), kind="stat"),
            panel(
                "Failed requests",
                "percentunit",
                ("failed", f"({failed} or 0 * {everything}) / {everything}"),
                ("objective", "vector(0.005)"),
                text="5xx but 503. The objective allows 0.5 %.",
            ),
            panel("Requests by outcome", "reqps", ("{{outcome}}", rate("cpfd_requests_total", "outcome", CLASSIFY))),
            panel(
                "Requests that were not answered, by code",
                "reqps",
                ("{{code}}", rate("cpfd_requests_total", "code", f'{CLASSIFY},code!="ok"')),
            ),
            panel("Turned away at admission, by reason", "reqps", ("{{reason}}", rate("cpfd_shed_total", "reason"))),
            panel("Decode workers alive", "none", ("{{pod}}", f"cpfd_decode_workers_alive{{{OWN}}}")),
            panel(
                "Decode workers replaced in 5 minutes, by reason",
                "none",
                ("{{reason}}", increase("cpfd_decode_worker_restarts_total", "reason")),
                text="recycled is planned; every other reason is not.",
            ),
            panel(
                "Quarantine and batcher restarts in 5 minutes",
                "none",
                ("quarantined clips", increase("cpfd_quarantine_hits_total", "")),
                ("batcher of {{arm}}", increase("cpfd_batcher_restarts_total", "arm")),
            ),
            panel(
                "Decision log: records lost in 5 minutes, and pods that cannot write it",
                "none",
                ("lost: {{reason}}", increase("cpfd_log_records_lost_total", "reason")),
                ("cannot write: {{pod}}", f"cpfd_log_failing{{{OWN}}} > 0"),
            ),
            panel("Versions", "none", ("{{version}}, onnxruntime {{onnxruntime}}", _versions()), kind="table"),
            panel("Requests in flight", "none", ("{{pod}}", f"cpfd_inflight_requests{{{OWN}}}")),
        ],
    )


def _versions() -> str:
    return f"count by (version, onnxruntime) (cpfd_build_info{{{OWN}}})"


def _fast() -> Json:
    duration, stage = "cpfd_request_duration_seconds", "cpfd_stage_duration_seconds"
    in_time = rate(f"{duration}_bucket", "", f'{CLASSIFY},le="2.5"')
    return dashboard(
        "cpfd-fast",
        "cpfd: is it fast?",
        [
            panel(
                "Time of a request",
                "s",
                *[(f"p{q * 100:.0f}", quantile(q, duration, labels=CLASSIFY)) for q in (0.5, 0.95, 0.99)],
            ),
            panel(
                "Requests over 2.5 s",
                "percentunit",
                ("slow", f"1 - {in_time} / {rate(f'{duration}_count', '', CLASSIFY)}"),
                ("objective", "vector(0.05)"),
            ),
            panel("p95 of each stage", "s", ("{{stage}}", quantile(0.95, stage, "stage"))),
            panel(
                "Mean time of each stage",
                "s",
                ("{{stage}}", f"{rate(f'{stage}_sum', 'stage')} / {rate(f'{stage}_count', 'stage')}"),
            ),
            panel(
                "Seconds of work in flight, each pod",
                "s",
                ("{{pod}}", f"cpfd_queue_seconds_of_work{{{OWN}}}"),
                text="What autoscaling reads.",
            ),
            panel(
                "Clips that wait",
                "none",
                ("for a lane, {{arm}}", f"sum by (arm) (cpfd_queue_depth{{{OWN}}})"),
                ("for a decoder", f"sum(cpfd_decode_queue_depth{{{OWN}}})"),
            ),
            panel("Body bytes in flight", "bytes", ("{{pod}}", f"cpfd_inflight_bytes{{{OWN}}}")),
            panel("Callers that left, by stage", "reqps", ("{{stage}}", rate("cpfd_cancelled_total", "stage"))),
        ],
    )


def _arm() -> Json:
    flagged, scored = rate("cpfd_flagged_total", "arm, task"), rate("cpfd_score_count", "arm, task")
    assigned = rate("cpfd_arm_assignments_total", "arm")
    failed = rate("cpfd_requests_total", "arm", f'{CLASSIFY},outcome="failed",arm!="none"')
    verdicts = rate("cpfd_requests_total", "arm", f'{CLASSIFY},outcome="answered",arm!="none"')
    of_arm = rate("cpfd_requests_total", "arm", f'{CLASSIFY},arm!="none"')
    return dashboard(
        "cpfd-arm",
        "cpfd: which arm?",
        [
            panel(
                "Share of the units",
                "percentunit",
                ("{{arm}}", f"{assigned} / ignoring (arm) group_left {rate('cpfd_arm_assignments_total', '')}"),
                text="Compare it with the weights: a share off its weight is a sample ratio mismatch.",
                most=1,
            ),
            panel(
                "Bundles at work",
                "none",
                ("{{arm}}", f"count by (arm, name, version, digest, provider) (cpfd_model_info{{{OWN}}})"),
                kind="table",
            ),
            panel(
                "Share of verdicts that raise a flag",
                "percentunit",
                ("{{arm}} {{task}}", f"{flagged} / {scored}"),
                most=1,
            ),
            panel(
                "Mean flag score",
                "none",
                ("{{arm}} {{task}}", f"{rate('cpfd_score_sum', 'arm, task')} / {scored}"),
                text="A calibrated probability.",
                most=1,
            ),
            panel(
                "Median flag score",
                "none",
                ("{{arm}} {{task}}", quantile(0.5, "cpfd_score", "arm, task")),
                text="Within a bucket of 0.05.",
                most=1,
            ),
            panel(
                "Drift of the scores from the bundle's reference",
                "none",
                ("{{arm}} {{task}}", f"max by (arm, task) (job_arm_task:cpfd_score:psi1h{{{OWN}}})"),
                text="Population stability index of the last hour against the held-out rows that the bundle records; "
                "the alert is at 0.25, higher where rows or scores are few. Made by recording rules.",
                no_value="No bundle holds a reference, or there is no hour of scores yet.",
            ),
            panel(
                "Scores of the last hour and rows of the reference",
                "none",
                (
                    "{{arm}} {{task}}, scores",
                    f"sum by (arm, task) (job_arm_task:cpfd_score_count:referenced1h{{{OWN}}})",
                ),
                ("{{arm}} {{task}}, rows", f"min by (arm, task) (job_arm_task:cpfd_reference_rows:min{{{OWN}}})"),
                text="How much the drift beside it rests on; the alert needs 500 scores.",
                no_value="No bundle holds a reference, or there is no hour of scores yet.",
            ),
            panel(
                "Shift of the scores against the day before",
                "none",
                ("{{arm}} {{task}}", f"max by (arm, task) (job_arm_task:cpfd_score:shift1h{{{OWN}}})"),
                text="Largest gap between two cumulative distributions; no alert reads it. Made by recording rules.",
                most=1,
                no_value="There is no hour before this one yet.",
            ),
            panel(
                "Evidence against the arms",
                "none",
                ("{{arm}} {{guardrail}}", f"max by (arm, guardrail) (cpfd_guardrail_evidence_ratio{{{OWN}}})"),
                ("sample ratio", f"max (cpfd_sample_ratio_evidence_ratio{{{OWN}}})"),
                ("{{arm}} is stopped", f"max by (arm) (cpfd_arm_stopped{{{OWN}}})"),
                text="Of the pod that has the most. At 1 a guardrail is broken, or the sample ratio is wrong. It may "
                "be looked at as often as one likes.",
            ),
            panel(
                "Shadows",
                "reqps",
                ("{{arm}} {{outcome}}", rate("cpfd_shadows_total", "arm, outcome")),
                text="Other arms on the frames of an answer, while a lane is idle.",
            ),
            panel(
                "Share of shadows that decide otherwise",
                "percentunit",
                (
                    "{{arm}} {{task}}",
                    f"{rate('cpfd_shadow_disagreements_total', 'arm, task')} / ignoring (task) group_left "
                    f"{rate('cpfd_shadows_total', 'arm', DONE)}",
                ),
                most=1,
                no_value="There are no shadows, or none has decided otherwise.",
            ),
            panel("Failed requests of each arm", "percentunit", ("{{arm}}", f"({failed} or 0 * {of_arm}) / {of_arm}")),
            panel("Verdicts of each arm", "reqps", ("{{arm}}", verdicts)),
        ],
    )


def _cost() -> Json:
    work = rate("cpfd_stage_duration_seconds_sum", "", f'{OWN},stage=~"decode|tokenisation|inference"')
    answered = rate("cpfd_requests_total", "", f'{CLASSIFY},outcome="answered"')
    everything = rate("cpfd_requests_total", "", CLASSIFY)
    by_stage = rate("cpfd_stage_duration_seconds_sum", "stage", f'{OWN},stage=~"decode|tokenisation|inference"')
    clips = rate("cpfd_batch_size_sum", "arm")
    price = {
        "name": "core_hour",
        "label": "price of a core-hour",
        "type": "textbox",
        "query": "0.04",
        "current": {"text": "0.04", "value": "0.04"},
    }
    return dashboard(
        "cpfd-cost",
        "cpfd: what does a verdict cost?",
        [
            panel(
                "Core-seconds for each verdict",
                "s",
                ("work", f"{work} / {answered}"),
                text="Time in decoding, tokenisation and inference, without waits in queues; more than CPU time where "
                "cores are contended. On a GPU, inference is the time of a lane.",
            ),
            panel(
                "Price of a million verdicts",
                "none",
                ("at the price above", f"1e6 * {work} / {answered} / 3600 * $core_hour"),
                text="In the currency of the price of a core-hour above. Idle cores are not in it.",
            ),
            panel("Where the work goes", "s", ("{{stage}}", f"{by_stage} / ignoring (stage) group_left {answered}")),
            panel(
                "Cores at work",
                "none",
                ("busy", work),
                text="Decoding, tokenisation and inference at the same time, on average; above the cores they contend.",
            ),
            panel("Verdicts", "reqps", ("answered", answered)),
            panel(
                "Verdicts for each pod",
                "reqps",
                ("answered", f"{answered} / sum(cpfd_ready{{{OWN}}})"),
            ),
            panel(
                "Requests without a verdict",
                "percentunit",
                ("not answered", f"1 - {answered} / {everything}"),
                text="Refused, shed, failed, or nobody waited.",
                most=1,
            ),
            panel(
                "Clips in a batch, mean",
                "none",
                ("{{arm}}", f"{clips} / {rate('cpfd_batch_size_count', 'arm')}"),
            ),
        ],
        [price],
    )


def _load() -> Json:
    error = "cpfd_decode_price_error_ratio"
    return dashboard(
        "cpfd-load",
        "cpfd: is it too much?",
        [
            panel(
                "Seconds of accepted work, by stage",
                "s",
                ("{{stage}}", f"max by (stage) (cpfd_stage_seconds_of_work{{{OWN}}})"),
                text="Of the pod that has most.",
            ),
            panel(
                "Callers told when to come back",
                "reqps",
                ("{{outcome}}", rate("cpfd_retry_promises_total", "outcome")),
                text="kept: they came as told.",
            ),
            panel(
                "Seconds of a decode over those predicted",
                "none",
                ("median", quantile(0.5, error)),
                ("p95", quantile(0.95, error)),
                text="1 where a clip costs what it was priced at.",
            ),
            panel("Clips priced by their size alone", "reqps", ("clips", rate("cpfd_unpriced_clips_total", ""))),
            panel(
                "Requests put after all others",
                "reqps",
                ("requests", rate("cpfd_put_last_total", "")),
                text="Of addresses whose callers mostly leave, or whose clips end decoders.",
            ),
            panel(
                "Requests that shared an equal one's work", "reqps", ("{{arm}}", rate("cpfd_coalesced_total", "arm"))
            ),
            panel("Starts of a decode worker that failed in a row", "none", _of_pod("cpfd_decode_start_failures")),
            panel("Open connections", "none", _of_pod("cpfd_connections")),
            panel(
                "Connections ended by this side in 5 minutes",
                "none",
                ("{{reason}}", increase("cpfd_connections_ended_total", "reason")),
            ),
            panel("Bodies on their way in", "none", _of_pod("cpfd_uploads")),
            panel("Bytes of bodies on their way in", "bytes", _of_pod("cpfd_upload_bytes")),
            panel(
                "Bodies given up as too slow in 5 minutes",
                "none",
                ("{{reason}}", increase("cpfd_uploads_given_up_total", "reason")),
            ),
            panel(
                "Log lines that nobody read in time, in 5 minutes",
                "none",
                ("lines", increase("cpfd_log_lines_dropped_total", "")),
            ),
        ],
    )


def _of_pod(gauge: str) -> tuple[str, str]:
    return "{{pod}}", f"{gauge}{{{OWN}}}"


DASHBOARDS: dict[str, Json] = {"up": _up(), "fast": _fast(), "arm": _arm(), "cost": _cost(), "load": _load()}

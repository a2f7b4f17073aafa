"""What values.schema.json says of a value beyond the type of its default: helm/generate.py puts it in.

Values that contradict each other are refused by templates/partials/_check.tpl.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from loadtest.run_file import RunFile  # noqa: E402  found beside helm/
from loadtest.shapes import MAX_PER_S, MAX_TOTAL_S, SHAPES  # noqa: E402

Json = dict[str, Any]

OPEN_MAPS = {"affinity", "podAnnotations", "podSecurityContext", "workload.strategy", "credentials.data"}
OPEN_MAPS |= {"route.annotations", "service.annotations", "serviceAccount.annotations", "autoscaling.behavior"}
OPEN_MAPS |= {"probes.startup", "probes.liveness", "probes.readiness", "monitoring.dashboards.annotations"}
"""Maps whose keys are Kubernetes' own, or the user's."""

MEMORY: Json = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(M|G|T|Ki|Mi|Gi|Ti)|[0-9]{7,})$"}
"""Bytes with a unit, or so many that none was forgotten."""
CPU: Json = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?m?$", "exclusiveMinimum": 0}
AMOUNTS: Json = {
    "type": "object",
    "properties": {"cpu": CPU, "memory": MEMORY, "ephemeral-storage": MEMORY},
    "additionalProperties": {"type": ["string", "integer"]},
}
RESOURCES: Json = {
    "type": "object",
    "properties": {"requests": AMOUNTS, "limits": AMOUNTS, "claims": {"type": "array"}},
    "additionalProperties": False,
}
LABELS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
TEXTS: Json = {"type": "array", "items": {"type": "string"}}

WHOLE = {"type": "integer", "minimum": 0}
POSITIVE = {"type": "integer", "minimum": 1}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
UNPRIVILEGED_PORT = {"type": "integer", "minimum": 1024, "maximum": 65535}
RESERVED = ["service", "serve", "log", "test", "metrics", "loadtest", "loadtest-master", "loadtest-worker"]
"""Names of the chart's own components, which no arm may have."""
NAME = r"^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$"

EXACT: dict[str, Json] = {
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "split.mode": {"enum": ["in-service", "gateway"]},
    "route.kind": {"enum": ["none", "ingress", "httproute", "istio"]},
    "route.hostnames": TEXTS,
    "route.gateways": TEXTS,
    "commonLabels": LABELS,
    "podLabels": LABELS,
    "monitoring.labels": LABELS,
    "monitoring.dashboards.labels": LABELS,
    "nodeSelector": LABELS,
    "loadtest.nodeSelector": LABELS,
    "resources": RESOURCES,
    "fetch.resources": RESOURCES,
    "loadtest.resources": RESOURCES,
    "armWeights": {"type": "object", "additionalProperties": WHOLE},
    "split.mirror.percent": {"type": "integer", "minimum": 0, "maximum": 100},
    "replicaCount": WHOLE,
    "containerPort": UNPRIVILEGED_PORT,
    "metricsPort": UNPRIVILEGED_PORT,
    "service.port": PORT,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "gpu.count": POSITIVE,
    "volumes.spool.sizeLimit": {"anyOf": [{"const": ""}, MEMORY]},
    "volumes.spool.medium": {"enum": ["", "Memory"]},
    "volumes.sharedMemory.sizeLimit": MEMORY,
    "volumes.tmp.sizeLimit": MEMORY,
    "volumes.bundles.sizeLimit": MEMORY,
    "lifecycle.preStopSeconds": WHOLE,
    "lifecycle.graceMarginSeconds": {"type": "integer", "minimum": 10},
    "autoscaling.kind": {"enum": ["none", "hpa", "keda"]},
    "autoscaling.minReplicas": POSITIVE,
    "autoscaling.maxReplicas": POSITIVE,
    "autoscaling.targetQueueSecondsOfWork": {"type": "number", "exclusiveMinimum": 0},
    "autoscaling.targetInflightPercent": {"type": "integer", "minimum": 1, "maximum": 99},
    "autoscaling.targetCPUUtilization": WHOLE,
    "podDisruptionBudget.maxUnavailable": {"oneOf": [WHOLE, {"type": "string", "pattern": "^[0-9]+%$"}]},
    "monitoring.scrape": {"enum": ["none", "service", "pod"]},
    "monitoring.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "monitoring.rules.disabled": TEXTS,
    "faults.cpuLimit": {"type": "string", "pattern": "^([0-9]+m?)?$"},
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
    "log.resources": RESOURCES,
    "log.sizeLimit": MEMORY,
    "log.shipTo": {"type": "string", "pattern": "^([a-z0-9+]+://.+)?$"},
    "log.keepDays": WHOLE,
    "log.everySeconds": POSITIVE,
    "log.image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "log.image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "loadtest.image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "loadtest.image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "loadtest.target": {"type": "string", "pattern": "^(https?://.+)?$"},
    # No more workers than a run has sources (loadtest.run_file).
    "loadtest.workers": {"type": "integer", "minimum": 1, "maximum": RunFile.model_fields["sources"].default},
    "loadtest.shape": {"enum": list(SHAPES)},
    "loadtest.rate": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PER_S},
    "loadtest.seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TOTAL_S},
    "loadtest.readySeconds": WHOLE,
    "loadtest.extraArgs": TEXTS,
    "arms": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "weight", "bundle"],
            "properties": {
                "name": {"type": "string", "pattern": NAME, "not": {"enum": RESERVED}},
                "weight": {"type": "integer", "minimum": 0},
                "bundle": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "source": {"type": "string"},
                        "claim": {"type": "string"},
                        "image": {"type": "string"},
                        "path": {"type": "string", "pattern": r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$"},
                        "digest": {"type": "string", "pattern": "^([0-9a-f]{64})?$"},
                    },
                },
            },
        },
    },
}

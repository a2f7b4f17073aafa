"""Everything below helm/ that is made from something else, so that it cannot go stale: tests/helm compares.

python helm/generate.py           writes README.md, values.schema.json and the dashboards
python helm/generate.py --check   exit 1 where one is stale

values.yaml (its `# --` comments)           -> README.md, the table
values.yaml, service.settings.Settings,
  loadtest.objectives.Objectives            -> values.schema.json
helm/dashboards.py                          -> files/dashboards/*.json
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "cpfd"
sys.path[:0] = [str(HERE), str(HERE.parent)]

from dashboards import DASHBOARDS  # noqa: E402  found beside this file

from loadtest.objectives import Objectives  # noqa: E402  found beside helm/
from loadtest.run_file import RunFile  # noqa: E402
from loadtest.shapes import MAX_PER_S, MAX_TOTAL_S, SHAPES  # noqa: E402
from service.settings import Settings  # noqa: E402

Json = dict[str, Any]

OPEN_MAPS = {
    "commonLabels",
    "nodeSelector",
    "affinity",
    "podAnnotations",
    "podLabels",
    "resources",
    "podSecurityContext",
}
OPEN_MAPS |= {
    "workload.strategy",
    "fetch.resources",
    "credentials.data",
    "service.annotations",
    "serviceAccount.annotations",
}
OPEN_MAPS |= {"probes.startup", "probes.liveness", "probes.readiness", "autoscaling.behavior", "monitoring.labels"}
OPEN_MAPS |= {"monitoring.dashboards.labels", "monitoring.dashboards.annotations"}
OPEN_MAPS |= {"loadtest.resources", "loadtest.nodeSelector"}
"""Maps whose keys are Kubernetes' own, or the user's."""

CHART_OWNED = ("host", "port", "arms")
"""Settings that the chart writes itself; those of a section stand in ``CHART_OWNED_FIELDS``."""
CHART_OWNED_FIELDS = {"BodySettings": "spool_directory", "DrainSettings": "max_seconds"}

QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}
WHOLE = {"type": "integer", "minimum": 0}
POSITIVE = {"type": "integer", "minimum": 1}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
RESERVED = ["service", "serve", "test", "loadtest", "loadtest-master", "loadtest-worker"]
"""Names of the chart's own components, which no arm may have."""
NAME = r"^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$"

EXACT: dict[str, Json] = {
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "split.mode": {"enum": ["in-service", "gateway"]},
    "split.router": {"enum": ["httproute", "istio", "none"]},
    "split.mirror.percent": {"type": "integer", "minimum": 0, "maximum": 100},
    "workload.kind": {"enum": ["deployment", "rollout"]},
    "replicaCount": WHOLE,
    "containerPort": {"type": "integer", "minimum": 1024, "maximum": 65535},
    "service.port": PORT,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "gpu.count": POSITIVE,
    "volumes.spool.sizeLimit": QUANTITY,
    "volumes.spool.medium": {"enum": ["", "Memory"]},
    "volumes.sharedMemory.sizeLimit": QUANTITY,
    "volumes.tmp.sizeLimit": QUANTITY,
    "volumes.bundles.sizeLimit": QUANTITY,
    "lifecycle.preStopSeconds": WHOLE,
    "lifecycle.graceMarginSeconds": {"type": "integer", "minimum": 10},
    "autoscaling.kind": {"enum": ["none", "hpa", "keda"]},
    "autoscaling.minReplicas": POSITIVE,
    "autoscaling.maxReplicas": POSITIVE,
    "autoscaling.targetQueueSecondsOfWork": {"type": "number", "exclusiveMinimum": 0},
    "autoscaling.targetCPUUtilization": WHOLE,
    "podDisruptionBudget.maxUnavailable": {"oneOf": [WHOLE, {"type": "string", "pattern": "^[0-9]+%$"}]},
    "monitoring.scrape": {"enum": ["none", "service", "pod"]},
    "monitoring.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "monitoring.rules.disabled": {"type": "array", "items": {"type": "string"}},
    "faults.cpuLimit": {"type": "string", "pattern": "^([0-9]+m?)?$"},
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
    "loadtest.image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "loadtest.image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "loadtest.target": {"type": "string", "pattern": "^(https?://.+)?$"},
    # No more workers than a run has sources (loadtest.run_file).
    "loadtest.workers": {"type": "integer", "minimum": 1, "maximum": RunFile.model_fields["sources"].default},
    "loadtest.shape": {"enum": list(SHAPES)},
    "loadtest.rate": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PER_S},
    "loadtest.seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TOTAL_S},
    "loadtest.readySeconds": WHOLE,
    "loadtest.extraArgs": {"type": "array", "items": {"type": "string"}},
    "split.hostnames": {"type": "array", "items": {"type": "string"}},
    "split.gateways": {"type": "array", "items": {"type": "string"}},
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


def values() -> Json:
    """The chart's default values."""
    loaded: Json = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


def descriptions() -> dict[str, str]:
    """Dotted name -> the text of the `# --` comment above it, of a values.yaml indented by two."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("# -- "):
            comment = [text[5:]]
        elif text.startswith("# ") and comment:
            comment.append(text[2:])
        elif key := re.match(r"( *)([A-Za-z]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                found[".".join(path)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def leaf(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree[part]
    return tree


def readme() -> str:
    """README.md of the chart: its head, and the table of values."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for dotted, text in descriptions().items():
        default = json.dumps(leaf(values(), dotted))
        shown = f"`{default}`" if len(default) <= 60 else "see values.yaml"
        rows.append(f"| `{dotted}` | {shown} | {text.replace('|', '/')} |")
    head = (HERE / "readme_head.md").read_text()
    return f"{head}\n## Values\n\n" + "\n".join(rows) + "\n"


def settings_schema() -> tuple[Json, Json]:
    """The schema of `config` and its definitions: the service's own settings, less what the chart writes."""
    schema = Settings.model_json_schema()
    definitions: Json = schema.pop("$defs")
    del definitions["ArmSettings"]
    for name in CHART_OWNED:
        del schema["properties"][name]
    for section, name in CHART_OWNED_FIELDS.items():
        del definitions[section]["properties"][name]
    return {"type": "object", "additionalProperties": False, "properties": schema["properties"]}, definitions


def schema_of(value: Any, dotted: str, texts: dict[str, str]) -> Json:
    """The schema of a default: its type, closed maps, and what ``EXACT`` says."""
    if dotted in EXACT:
        made = dict(EXACT[dotted])
    elif isinstance(value, dict):
        made = {"type": "object"}
        if dotted not in OPEN_MAPS:
            inner = {key: schema_of(v, f"{dotted}.{key}".lstrip("."), texts) for key, v in value.items()}
            made |= {"additionalProperties": False, "properties": inner}
    elif isinstance(value, list):
        made = {"type": "array", "items": {"type": "object"}}
    else:
        kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
        made = {"type": kinds[type(value)]}
    if dotted in texts:
        made["description"] = texts[dotted]
    return made


def schema() -> str:
    """values.schema.json."""
    config, definitions = settings_schema()
    made = schema_of(values(), "", descriptions())
    made["properties"]["config"] = config | {"description": descriptions()["config"]}
    objectives = Objectives.model_json_schema()
    definitions |= _without_clash(definitions, objectives.pop("$defs"))
    texts = {"description": descriptions()["loadtest.objectives"]}
    made["properties"]["loadtest"]["properties"]["objectives"] = objectives | texts
    made["properties"]["global"] = {"type": "object", "description": "Helm's own."}
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Values of the chart cpfd"}
    return json.dumps(draft | made | {"$defs": definitions}, indent=2) + "\n"


def _without_clash(definitions: Json, more: Json) -> Json:
    if clash := definitions.keys() & more.keys():
        raise ValueError(f"two definitions of {', '.join(clash)}")
    return more


def made() -> dict[Path, str]:
    """Every generated file and its text."""
    files = {CHART / "README.md": readme(), CHART / "values.schema.json": schema()}
    for name, dashboard in DASHBOARDS.items():
        files[CHART / "files" / "dashboards" / f"{name}.json"] = json.dumps(dashboard, indent=1) + "\n"
    return files


def stale() -> list[Path]:
    return [path for path, text in made().items() if not path.is_file() or path.read_text() != text]


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes the chart's README, schema and dashboards.")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    if parser.parse_args().check:
        sys.stdout.writelines(f"stale: {path.relative_to(HERE.parent)}\n" for path in stale())
        return int(bool(stale()))
    for path, text in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

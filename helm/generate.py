"""Everything below helm/ that is made from something else, so that it cannot go stale: tests/helm compares.

python helm/generate.py           writes README.md, values.schema.json, the service's defaults and the dashboards
python helm/generate.py --check   exit 1 where one is stale

values.yaml (its `# --` comments)           -> README.md, the table (helm-docs does that too, but is a Go binary that
                                               neither PyPI nor Debian nor npm has; here it is 20 lines)
values.yaml, service.settings.Settings,
  loadtest.objectives.Objectives            -> values.schema.json
service.settings.Settings                   -> files/service.yaml, the defaults that templates reckon with
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
from value_schema import EXACT, OPEN_MAPS  # noqa: E402

from loadtest.objectives import Objectives  # noqa: E402  found beside helm/
from service.settings import Settings  # noqa: E402

Json = dict[str, Any]

CHART_OWNED = ("host", "port", "metrics_port", "arms")
"""Settings that the chart writes itself; those of a section stand in ``CHART_OWNED_FIELDS``."""
CHART_OWNED_FIELDS = {
    "BodySettings": ("spool_directory",),
    "DrainSettings": ("max_seconds",),
    "ExperimentSettings": ("force_token", "stop_file"),
    "FeedbackSettings": ("token",),
    "LogSettings": ("directory",),
}
RECKONED = {
    "admission": ("max_bytes", "max_requests", "max_seconds_of_work"),
    "body": ("max_media_bytes", "max_text_bytes"),
    "deadline": ("max_ms",),
    "decode": ("workers",),
    "lanes": ("count",),
    "uploads": ("max_bytes",),
}
"""Settings of which the chart computes others, where the service has them."""


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
    for section, names in CHART_OWNED_FIELDS.items():
        for name in names:
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


def service_defaults() -> str:
    """files/service.yaml: the settings that the templates reckon with, where nobody sets them."""
    sections = {name: field.get_default() for name, field in Settings.model_fields.items() if name in RECKONED}
    defaults = {name: section.model_dump(include=set(RECKONED[name])) for name, section in sections.items()}
    text = yaml.safe_dump(defaults)
    return f"# Generated by helm/generate.py: the service's own defaults, of which the templates make others.\n{text}"


def made() -> dict[Path, str]:
    """Every generated file and its text."""
    files = {CHART / "README.md": readme(), CHART / "values.schema.json": schema()}
    files[CHART / "files" / "service.yaml"] = service_defaults()
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

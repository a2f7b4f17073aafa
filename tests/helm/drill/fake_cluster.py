"""A Kubernetes API on loopback, small enough to read: keeps what it is given and serves what helm and kubectl ask for.

It has no controllers but one: a Deployment gets its ReplicaSet and pods at once, all of them ready. Logs and `exec` are
answered by what the test hands in. What it does not know, it refuses with 404, as a real one would.
"""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from tests.helm.drill import protobuf, websocket

Json = dict[str, Any]

KINDS = {
    "v1": "pods/Pod services/Service configmaps/ConfigMap secrets/Secret serviceaccounts/ServiceAccount "
    "endpoints/Endpoints events/Event namespaces/Namespace nodes/Node",
    "apps/v1": "deployments/Deployment replicasets/ReplicaSet",
    "autoscaling/v2": "horizontalpodautoscalers/HorizontalPodAutoscaler",
    "batch/v1": "jobs/Job",
    "discovery.k8s.io/v1": "endpointslices/EndpointSlice",
    "gateway.networking.k8s.io/v1": "httproutes/HTTPRoute",
    "keda.sh/v1alpha1": "scaledobjects/ScaledObject",
    "metrics.k8s.io/v1beta1": "pods/PodMetrics",
    "monitoring.coreos.com/v1": "servicemonitors/ServiceMonitor podmonitors/PodMonitor prometheusrules/PrometheusRule",
    "networking.k8s.io/v1": "ingresses/Ingress networkpolicies/NetworkPolicy",
    "networking.istio.io/v1": "virtualservices/VirtualService",
    "policy/v1": "poddisruptionbudgets/PodDisruptionBudget",
}
CLUSTER_WIDE = ("Namespace", "Node")
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
SHORT = {"deployments": "deploy", "horizontalpodautoscalers": "hpa", "replicasets": "rs", "pods": "po"}


@dataclass
class Cluster:
    """What it holds, and how it answers.

    Attributes:
        objects: path below the group's version, such as ``apps/v1/ns/deployments/cpfd`` -> the object.
        logs: pod -> its lines, the oldest first.
        execute: what a command in a container prints.
        prometheus: the samples that a query gets.
        asked: every request, as ``METHOD path?query``.
    """

    url: str = ""
    objects: dict[str, Json] = field(default_factory=dict)
    logs: Callable[[Json], list[str]] = lambda pod: []
    execute: Callable[[list[str]], str] = lambda command: ""
    prometheus: Callable[[str], list[Json]] = lambda query: []
    asked: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Json]:
        return [made for made in self.objects.values() if made["kind"] == kind]

    def put(self, version: str, namespace: str, plural: str, made: Json) -> Json:
        """Keeps an object, and does what its controller would."""
        meta = made["metadata"]
        key = f"{version}/{namespace}/{plural}/{meta['name']}"
        generation = str(len(self.asked))
        meta |= {"namespace": namespace, "uid": f"uid-{key}", "resourceVersion": generation, "generation": 1}
        meta.setdefault("creationTimestamp", "2026-11-25T00:00:00Z")
        self.objects[key] = made
        if plural == "deployments":
            self._run(version, namespace, made)
        elif plural == "pods" and not made.get("status"):
            made["status"] = {"phase": "Succeeded"}  # a pod that nothing owns is a test, which is done
        return made

    def _run(self, version: str, namespace: str, deployment: Json) -> None:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        count = spec.setdefault("replicas", 1)
        deployment["status"] = {
            "observedGeneration": 1,
            **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count),
        }
        owner = {"apiVersion": version, "kind": "Deployment", "name": name, "controller": True}
        owner["uid"] = deployment["metadata"]["uid"]
        labels = spec["template"]["metadata"]["labels"] | {"pod-template-hash": "6b7f9c"}
        ready = [{"type": "Ready", "status": "True"}]
        for i in range(count):
            inside = [c["name"] for c in spec["template"]["spec"]["containers"]]
            containers = [{"name": name, "ready": True, "restartCount": 0} for name in inside]
            meta = {"name": f"{name}-6b7f9c-{i:05d}", "labels": labels, "ownerReferences": [owner]}
            status = {"phase": "Running", "conditions": ready, "containerStatuses": containers, "podIP": "10.0.0.1"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status}
            self.put("v1", namespace, "pods", pod | {"spec": spec["template"]["spec"]})


def selected(made: Json, selector: str) -> bool:
    """Whether the labels fit an equality selector."""
    labels = made["metadata"].get("labels", {})
    wanted = [part.partition("=") for part in selector.split(",") if part]
    return all(labels.get(name) == value.lstrip("=") for name, _, value in wanted)


def merged(old: Any, new: Any) -> Any:
    """A JSON merge patch; a map that says nothing of a key keeps it."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    kept = {key: value for key, value in old.items() if key not in new}
    return kept | {key: merged(old.get(key), value) for key, value in new.items() if value is not None}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, *_: object) -> None:
        """Silent: the test prints what it needs."""

    def send(self, body: object, status: int = 200, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str, reason: str = "NotFound") -> None:
        said = {"status": "Failure", "message": message, "reason": reason, "code": status}
        self.send({"kind": "Status", "apiVersion": "v1"} | said, status)

    def body(self) -> Json:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        read: Json = protobuf.secret(data) if data.startswith(protobuf.MAGIC) else yaml.safe_load(data) or {}
        return read

    def answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.cluster.asked.append(f"{self.command} {self.path}")
        path = [part for part in parts.path.split("/") if part]
        if parts.path == "/api/v1/query":
            samples = self.cluster.prometheus(query["query"])
            self.send({"status": "success", "data": {"resultType": "vector", "result": samples}})
        elif path == ["openapi", "v2"]:
            self.send("", kind="application/octet-stream")  # an empty document: clients then check no fields
        elif parts.path == "/readyz":
            self.send({"ready": False, "reasons": ["starting"]}, 503)
        elif len(path) <= 1 or (path[0], len(path)) in {("api", 2), ("apis", 3)}:
            self.discovery(path)
        elif path[0] in ("api", "apis"):
            version = "v1" if path[0] == "api" else f"{path[1]}/{path[2]}"
            self.resource(version, path[2 if path[0] == "api" else 3 :], query)
        else:
            self.refuse(404, f"no such path: {parts.path}")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def discovery(self, path: list[str]) -> None:
        if path == ["version"]:
            self.send({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        elif path == ["api"]:
            self.send({"kind": "APIVersions", "versions": ["v1"]})
        elif path == ["apis"]:
            groups = []
            for version in KINDS.keys() - {"v1"}:
                found = {"groupVersion": version, "version": version.partition("/")[2]}
                groups.append({"name": version.partition("/")[0], "versions": [found], "preferredVersion": found})
            self.send({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        elif (version := "/".join(path[1:])) in KINDS:
            found = {"groupVersion": version, "resources": listed(version)}
            self.send({"kind": "APIResourceList", "apiVersion": "v1"} | found)
        else:
            self.refuse(404, "no such version")

    def resource(self, version: str, path: list[str], query: dict[str, str]) -> None:
        namespace = ""
        if path[0] == "namespaces" and len(path) > 2:
            namespace, path = path[1], path[2:]
        plural, name, sub = (*path, "", "")[:3]
        if not any(entry.startswith(f"{plural}/") for entry in KINDS.get(version, "").split()):
            self.refuse(404, "the server could not find the requested resource")
        elif not name and self.command == "GET":
            self.list(version, namespace, plural, query)
        elif self.command == "POST" and not sub:
            self.send(self.cluster.put(version, namespace, plural, self.body()), 201)
        else:
            self.one(f"{version}/{namespace}/{plural}/{name}", sub, query)

    def list(self, version: str, namespace: str, plural: str, query: dict[str, str]) -> None:
        start = f"{version}/{namespace}/{plural}/"
        found = [made for key, made in self.cluster.objects.items() if key.startswith(start)]
        found = [made for made in found if selected(made, query.get("labelSelector", ""))]
        if "fieldSelector" in query:
            name = query["fieldSelector"].partition("metadata.name=")[2]
            found = [made for made in found if made["metadata"]["name"] == name]
        kind = next(entry.partition("/")[2] for entry in KINDS[version].split() if entry.startswith(f"{plural}/"))
        now = {"resourceVersion": str(len(self.cluster.asked))}
        if query.get("watch"):
            end = {"kind": kind, "apiVersion": version, "metadata": now | {"annotations": INITIAL_EVENTS_END}}
            self.watch([("ADDED", made) for made in found] + [("BOOKMARK", end)])
            return
        self.send({"kind": f"{kind}List", "apiVersion": version, "metadata": now, "items": found})

    def watch(self, events: list[tuple[str, Json]]) -> None:
        """Sends what there is; nothing happens afterwards, until the client goes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write("".join(json.dumps({"type": kind, "object": made}) + "\n" for kind, made in events).encode())
        self.wfile.flush()
        self.connection.settimeout(30)
        with contextlib.suppress(OSError):
            self.rfile.read(1)

    def one(self, key: str, sub: str, query: dict[str, str]) -> None:
        version, namespace, plural, name = key.rsplit("/", 3)
        made = self.cluster.objects.get(key)
        if made is None and not (self.command == "PATCH" and "apply" in self.headers["Content-Type"]):
            self.refuse(404, f'{plural} "{name}" not found')
        elif made is None:
            self.send(self.cluster.put(version, namespace, plural, self.body()), 201)
        elif sub == "log":
            self.log(made, query)
        elif sub == "exec":
            self.execute(made, query)
        elif sub == "scale":
            self.scale(made)
        elif self.command == "GET":
            self.send(made)
        elif self.command == "DELETE":
            del self.cluster.objects[key]
            self.send({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        elif self.command == "PUT":
            self.send(self.cluster.put(version, namespace, plural, self.body()))
        else:
            self.send(self.cluster.put(version, namespace, plural, merged(made, self.body())))

    def scale(self, made: Json) -> None:
        if self.command != "GET":
            made["spec"]["replicas"] = self.body()["spec"]["replicas"]
        meta = {name: made["metadata"][name] for name in ("name", "namespace", "resourceVersion")}
        count = {"replicas": made["spec"]["replicas"]}
        scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta}
        self.send(scale | {"spec": count, "status": count})

    def log(self, pod: Json, query: dict[str, str]) -> None:
        name, container = pod["metadata"]["name"], query.get("container", "")
        inside = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
        if container not in [c["name"] for c in inside] and (container or len(inside) > 1):
            self.refuse(400, f"container {container} is not valid for pod {name}", "BadRequest")
            return
        lines = self.cluster.logs(pod)
        tail = int(query.get("tailLines", len(lines)))
        self.send("".join(f"{line}\n" for line in lines[len(lines) - min(tail, len(lines)) :]), kind="text/plain")

    def execute(self, pod: Json, query: dict[str, str]) -> None:
        command = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["command"]
        websocket.answer_exec(self, self.cluster.execute(command))


def listed(version: str) -> list[Json]:
    """The resources of a group's version, as discovery shows them."""
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    found: list[Json] = []
    for plural, _, kind in (entry.partition("/") for entry in KINDS[version].split()):
        short = [SHORT[plural]] if plural in SHORT else []
        made = {"name": plural, "singularName": kind.lower(), "kind": kind, "verbs": verbs}
        found.append(made | {"namespaced": kind not in CLUSTER_WIDE, "shortNames": short})
        if plural == "deployments":
            scale = {"kind": "Scale", "group": "autoscaling", "version": "v1"}
            found.append({"name": "deployments/scale", "singularName": "", "namespaced": True, "verbs": verbs} | scale)
    return found


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Serves the cluster on a free port of loopback."""
    handler = type("Bound", (Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

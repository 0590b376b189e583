"""A W&B server for tests, as far as the installed wandb needs one, and a reader of what wandb writes offline."""

import json
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

KEY = "0123456789abcdef" * 2 + "01234567"
"""What wandb takes for an API key."""

VARIABLES = (
    *("ERROR_REPORTING", "SILENT", "MODE", "API_KEY", "BASE_URL", "PROJECT", "ENTITY"),
    *("SWEEP_ID", "RUN_ID", "SWEEP_PARAM_PATH", "CACHE_DIR"),
)
"""What wandb reads of the environment, after WANDB_."""


def without_login(monkeypatch: Any, home: Path) -> None:
    """Let wandb find nothing of this machine's, in its environment or its home."""
    for name in VARIABLES:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))


class Quiet(ThreadingHTTPServer):
    """Does not mind clients that go away."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass
class Run:
    """What the server knows of a run."""

    id: str
    upserts: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False

    def told(self, key: str) -> Any:
        """The last value that a client gave for a property of the run."""
        return [None, *(upsert[key] for upsert in self.upserts if upsert.get(key))][-1]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as users see it."""
        return {key: entry["value"] for key, entry in json.loads(self.told("config")).items() if key != "_wandb"}

    @property
    def state(self) -> str:
        """W&B's word for what became of it."""
        return "running" if self.exit_code is None else "failed" if self.exit_code else "finished"

    @property
    def node(self) -> dict[str, Any]:
        """What the public API gives of it."""
        told = {"sweepName": None, "commit": None, "description": "", "notes": "", "systemMetrics": "{}", "tags": []}
        times = {"createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00"}
        last = self.history[-1]["_step"] if self.history else -1
        return {
            **told,
            **times,
            "id": f"b-{self.id}",
            "name": self.id,
            "displayName": self.told("displayName"),
            "group": self.told("groupName"),
            "jobType": self.told("jobType"),
            "state": self.state,
            "config": self.told("config"),
            "summaryMetrics": json.dumps(self.summary),
            "readOnly": True,
            "historyLineCount": len(self.history),
            "historyKeys": {"lastStep": last, "keys": {}, "sets": []},
            "user": {"name": "ann", "username": "ann"},
        }

    @property
    def metric_settings(self) -> list[dict[str, Any]]:
        """The records of `define_metric`, by wandb's own numbers of fields."""
        return json.loads(self.told("config"))["_wandb"]["value"]["m"]


class FakeWandb:
    """Listens on 127.0.0.1; `hangs` makes it accept and never answer from then on."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.views: list[dict[str, Any]] = []
        """Reports that were saved."""
        self.sweep = ""
        """The YAML of the only sweep."""
        self.orders: list[dict[str, Any]] = []
        """What agents of the sweep are told to do, one by one; an agent ends when all its runs have."""
        self.hangs = threading.Event()
        self.ends = threading.Event()
        self.status = 200
        handler = type("Bound", (Handler,), {"fake": self})
        self.http = Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        if path.endswith("/graphql"):
            return {"data": self.graphql(body["query"], body.get("variables") or {})}
        if path.endswith("/file_stream"):
            self.stream(self.runs[path.split("/")[-2]], body)
        return {}

    def graphql(self, query: str, values: dict[str, Any]) -> dict[str, Any]:
        """The answer to a query."""
        if "query Viewer" in query:
            return {"viewer": {"id": "u", "entity": "team", "username": "ann", "flags": "{}", "teams": {"edges": []}}}
        if "query ServerFeatures" in query:
            return {"serverInfo": {"features": []}}
        if "query RunResumeStatus" in query:
            return {
                "model": {
                    "id": "p",
                    "name": values["project"],
                    "entity": {"id": "e", "name": "team"},
                    **self.bucket(values),
                }
            }
        if "mutation UpsertBucket" in query:
            new = values["name"] not in self.runs
            run = self.runs.setdefault(values["name"], Run(values["name"]))
            run.upserts.append(values)
            project = {"id": "p", "name": values["project"], "entity": {"id": "e", "name": "team"}}
            bucket = {"id": f"b-{run.id}", "name": run.id, "displayName": values.get("displayName"), "project": project}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": len(run.history)}, "inserted": new}}
        if "mutation CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in values["files"]]
            return {"createRunFiles": {"runID": values["run"], "uploadHeaders": [], "files": files}}
        if "mutation CreateAgent" in query:
            return {"createAgent": {"agent": {"id": "a1"}}}
        if "mutation Heartbeat" in query:
            ended = all(run.exit_code is not None for run in self.runs.values())
            orders = [self.orders.pop(0)] if self.orders else [{"type": "exit"}] if self.runs and ended else []
            return {"agentHeartbeat": {"agent": {"id": "a1"}, "commands": json.dumps(orders)}}
        return self.public(query, values)

    def public(self, query: str, values: dict[str, Any]) -> dict[str, Any]:
        """The answer to a query of wandb's public API."""
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        if "query GetDefaultEntity" in query:
            return {"viewer": {"id": "u", "entity": "team"}}
        if "query GetProjects" in query:
            about = {"createdAt": "2026-01-01T00:00:00", "isBenchmark": False, "user": None, "entityName": "team"}
            return {"models": {"pageInfo": page, "edges": [{"node": {"id": "p", "name": "steepest", **about}}]}}
        if "mutation upsertView" in query:
            self.views.append(values)
            project = {"id": "p", "name": values["projectName"], "entityName": values["entityName"]}
            view = {key: values[key] for key in ("name", "displayName", "description", "spec")}
            return {"upsertView": {"view": {"id": "v1", **view, "project": project}, "inserted": True}}
        if "query SweepWithRuns" in query:
            sweep = {"id": "s", "name": values["sweep"], "state": "RUNNING", "method": "bayes", "config": self.sweep}
            return {"project": {"sweep": {**sweep, "runs": {"edges": [], "pageInfo": page}}}}
        if "query Runs(" in query:
            group = json.loads(values["filters"]).get("group")
            found = [run.node for run in self.runs.values() if run.told("project") == values["project"]]
            found = [node for node in found if group in (None, node["group"])]
            if not found:
                return {"project": None}
            edges = [{"node": {"projectId": "1", **node}, "cursor": node["id"]} for node in found]
            runs = {"edges": edges, "pageInfo": page}
            return {"project": {"internalId": "1", "runCount": len(found), "readOnly": True, "runs": runs}}
        if "query RunHistoryKeys" in query:
            return {"project": {"run": {"historyKeys": self.runs[values["name"]].node["historyKeys"]}}}
        if "query RunParquetHistory" in query:
            live = [{"_step": 0}]  # none of it lies in files yet
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}
        if "query HistoryPage" in query:
            rows = self.runs[values["run"]].history
            rows = [row for row in rows if values["minStep"] <= row["_step"] < values["maxStep"]]
            return {"project": {"run": {"history": list(map(json.dumps, rows))}}}
        return {}

    def bucket(self, values: dict[str, Any]) -> dict[str, Any]:
        """What a client needs to go on with a run."""
        run = self.runs.get(values["name"])
        if run is None:
            return {"bucket": None}
        return {
            "bucket": {
                "id": f"b-{run.id}",
                "name": run.id,
                "displayName": run.told("displayName"),
                "summaryMetrics": json.dumps(run.summary),
                "logLineCount": 0,
                "historyLineCount": len(run.history),
                "eventsLineCount": 0,
                "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
                "eventsTail": "[]",
                "config": run.told("config"),
                "tags": run.told("tags"),
                "wandbConfig": json.dumps({"t": 1}),
            }
        }

    def stream(self, run: Run, body: dict[str, Any]) -> None:
        """Take rows, summaries and the end."""
        files = body.get("files") or {}
        for name, part in files.items():
            if name == "wandb-history.jsonl":
                offset = part["offset"]
                rows = [json.loads(line) for line in part["content"]]
                run.history[offset : offset + len(rows)] = rows
            elif name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        run.preempting |= bool(body.get("preempting"))
        if body.get("complete"):
            run.exit_code = body.get("exitcode")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    fake: FakeWandb
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.fake.hangs.is_set():
            self.fake.ends.wait()
            self.close_connection = True
            return
        known = self.path.endswith(("/graphql", "/file_stream")) and self.fake.status == 200
        answer = self.fake.answer(self.path, json.loads(body)) if known else {}
        text = json.dumps(answer).encode()
        self.send_response(self.fake.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[FakeWandb]:
    """A server that listens while the body runs."""
    fake = FakeWandb()
    thread = threading.Thread(target=fake.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.ends.set()
        fake.http.shutdown()
        fake.http.server_close()


def records(file: Path) -> Iterator[Record]:
    """The records of an offline run: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    content, position, found = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        if not kind:
            break
        found += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(found)
            found = b""


def offline_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of an offline run."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records(file)
        if record.WhichOneof("record_type") == "history"
    ]

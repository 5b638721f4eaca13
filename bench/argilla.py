"""Measure the local Argilla server beside the stock one: `python bench/argilla.py [--records N] [--stock-records M]`.

Starts both on fresh folders, pushes the same records (a suggestion and a 384-d vector each) to both in turns, so that
a busy machine slows both alike, then pulls, searches and looks at the memory. "Stock" is argilla-server as published,
without the speed patch, but on SQLite with the same search engine: an Elasticsearch is not at hand, so the figures of
searches compare nothing and are given for the local server only.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

# In the place of this folder, whose argilla.py would hide the package of that name.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil  # noqa: E402

from labeling import local_argilla  # noqa: E402
from labeling.local_argilla import Server, api, environment  # noqa: E402
from store.progress import silent  # noqa: E402

_BATCH = 250
_DIMENSIONS = 384
_TIMES = 11  # each search is asked; the first warms up and is told apart
_PAGE = 50
_SEARCHED_FAST = 10_000  # records; with more, searches take longer, and nothing is promised
_LABELS = ("relevant", "not_relevant", "unsure")
_MIB = 2**20

_PARTS: dict[str, list[dict[str, Any]]] = {
    "fields": [
        {"name": "query", "required": True, "settings": {"type": "text"}},
        {"name": "chunk", "required": True, "settings": {"type": "text", "use_markdown": True}},
    ],
    "questions": [
        {
            "name": "label",
            "required": True,
            "settings": {"type": "label_selection", "options": [{"value": v, "text": v} for v in _LABELS]},
        }
    ],
    "metadata-properties": [
        {"name": "rank", "settings": {"type": "integer"}, "visible_for_annotators": True},
        {"name": "source", "settings": {"type": "terms"}, "visible_for_annotators": True},
    ],
    "vectors-settings": [{"name": "chunk", "dimensions": _DIMENSIONS}],
}


@dataclass(slots=True)
class Measured:
    """One server and what was measured of it; seconds, and bytes of resident memory."""

    server: Server
    ready_s: float
    dataset_id: str = ""
    question_id: str = ""
    pushed: int = 0
    push_s: list[float] = field(default_factory=list)  # a batch each
    push_cpu_s: list[float] = field(default_factory=list)
    pull_s: float = 0.0
    memory: int = 0  # the most that was seen

    def records_per_s(self, records: int) -> float:
        """Rate over the first `records`; the later ones go slower, so rates compare only over equally many."""
        return records / sum(self.push_s[: records // _BATCH])

    def cpu_s(self) -> float:
        """Processor time of the server so far: what a busy machine does not change."""
        times = psutil.Process(self.server.pid).cpu_times()
        return times.user + times.system

    def look_at_memory(self) -> None:
        """Keep the largest size seen."""
        self.memory = max(self.memory, psutil.Process(self.server.pid).memory_info().rss)


def main() -> None:
    """Measure, then print a table, or JSON with `--json`."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--records", type=int, default=10_000)
    arguments.add_argument("--stock-records", type=int, help="push fewer to the stock server (default: as many)")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    records = max(_BATCH, given.records // _BATCH * _BATCH)
    stock_records = min(records, max(_BATCH, (given.stock_records or records) // _BATCH * _BATCH))
    environment.ensure(silent)  # the first installation is not part of getting ready
    with running(stock=False) as ours, running(stock=True) as stock:
        _push(ours, stock, records, stock_records)
        for measured in (ours, stock):
            _pull(measured)
        searches = [_search(ours, name, body) for name, body in _searches(records)]
        ours.look_at_memory()
        result = _result(ours, stock, searches)
    if given.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)


@contextmanager
def running(*, stock: bool) -> Iterator[Measured]:
    """Start a server on a fresh folder, with a dataset; it ends with the context."""
    with tempfile.TemporaryDirectory(prefix="bench_argilla_") as folder, _speed_patch_off(Path(folder), stock):
        home = Path(folder) / "home"
        begun = time.perf_counter()
        measured = Measured(local_argilla.up(home), time.perf_counter() - begun)
        try:
            _make_dataset(measured)
            yield measured
        finally:
            local_argilla.down(home)


@contextmanager
def _speed_patch_off(folder: Path, stock: bool) -> Iterator[None]:
    """Let the server start from a copy of its code in which the speed patch does nothing."""
    code = environment.SERVER_CODE
    if stock:
        environment.SERVER_CODE = folder / "server"
        shutil.copytree(code, environment.SERVER_CODE)
        (environment.SERVER_CODE / "uncited_argilla" / "speed.py").write_text("def apply():\n    return False\n")
    try:
        yield
    finally:
        environment.SERVER_CODE = code


def _ask(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    status, answer = api.request(server, method, f"/api/v1{path}", body, timeout_s=600)
    if status >= 400:
        raise SystemExit(f"{method} {path}: {status} {answer}")
    return answer


def _make_dataset(measured: Measured) -> None:
    server = measured.server
    (workspace,) = _ask(server, "GET", "/me/workspaces")["items"]
    dataset = {"name": "bench", "workspace_id": workspace["id"]}
    measured.dataset_id = _ask(server, "POST", "/datasets", dataset)["id"]
    for part, items in _PARTS.items():
        for item in items:
            made = _ask(server, "POST", f"/datasets/{measured.dataset_id}/{part}", {"title": item["name"], **item})
            if part == "questions":
                measured.question_id = made["id"]
    _ask(server, "PUT", f"/datasets/{measured.dataset_id}/publish")


def _push(ours: Measured, stock: Measured, records: int, stock_records: int) -> None:
    """Push batch by batch, to the one server and then to the other."""
    for start in range(0, records, _BATCH):
        items = _records(start)
        for measured in (ours, stock) if start < stock_records else (ours,):
            suggested = [
                {**item, "suggestions": [{**item["suggestions"][0], "question_id": measured.question_id}]}
                for item in items
            ]
            begun, cpu_begun = time.perf_counter(), measured.cpu_s()
            _ask(measured.server, "PUT", f"/datasets/{measured.dataset_id}/records/bulk", {"items": suggested})
            measured.push_s.append(time.perf_counter() - begun)
            measured.push_cpu_s.append(measured.cpu_s() - cpu_begun)
            measured.pushed += len(items)
            measured.look_at_memory()
        if (start + _BATCH) % 1000 == 0:
            print(f"pushed {start + _BATCH:,} of {records:,}", file=sys.stderr)


def _records(start: int) -> list[dict[str, Any]]:
    """Make up a batch: 120 words a chunk, drawn as in real text, a few common and most rare."""
    import numpy as np

    rng = np.random.default_rng(start)
    words = np.minimum(rng.zipf(1.3, size=(_BATCH, 130)), 50_000)
    vectors = rng.normal(size=(_BATCH, _DIMENSIONS)).round(6)
    return [
        {
            "external_id": f"pair-{start + n}",
            "fields": {
                "query": " ".join(f"w{w}" for w in words[n, :10]),
                "chunk": "<div>" + " ".join(f"w{w}" for w in words[n, 10:]) + "</div>",
            },
            "metadata": {"rank": int(rng.integers(1, 21)), "source": ("uncited", "bm25", "dense")[n % 3]},
            "vectors": {"chunk": vectors[n].tolist()},
            "suggestions": [{"value": _LABELS[n % 3], "score": round(float(rng.random()), 3), "agent": "judge"}],
        }
        for n in range(_BATCH)
    ]


def _pull(measured: Measured) -> None:
    begun = time.perf_counter()
    for offset in range(0, measured.pushed, _BATCH):
        page = f"limit={_BATCH}&offset={offset}&include=responses,suggestions"
        answer = _ask(measured.server, "GET", f"/datasets/{measured.dataset_id}/records?{page}")
        assert len(answer["items"]) == _BATCH, "every record that was pushed is there"
    measured.pull_s = time.perf_counter() - begun
    measured.look_at_memory()


def _searches(records: int) -> Iterator[tuple[str, dict[str, Any]]]:
    import numpy as np

    vector = np.random.default_rng(records).normal(size=_DIMENSIONS).tolist()
    scopes = {
        "status": {"entity": "response", "property": "status"},
        "source": {"entity": "metadata", "metadata_property": "source"},
        "rank": {"entity": "metadata", "metadata_property": "rank"},
        "suggestion": {"entity": "suggestion", "question": "label", "property": "value"},
        "score": {"entity": "suggestion", "question": "label", "property": "score"},
    }

    def terms(scope: str, *values: str) -> dict[str, Any]:
        return {"type": "terms", "scope": scopes[scope], "values": list(values)}

    def sort(scope: str) -> list[dict[str, Any]]:
        return [{"scope": scopes[scope], "order": "asc"}]

    pending = terms("status", "pending")
    high = {"type": "range", "scope": scopes["rank"], "ge": 1, "le": 5}
    near = {"name": "chunk", "value": vector, "max_results": _PAGE}
    yield "the queue: pending", {"filters": {"and": [pending]}}
    yield "the queue, sorted by rank", {"filters": {"and": [pending]}, "sort": sort("rank")}
    yield "text: a word of every record", {"query": {"text": {"q": "w1"}}}
    yield "text: rare words and phrases", {"query": {"text": {"q": 'w977 | "w1 w2" -w3 | w88*'}}}
    yield "filter: suggestion and rank", {"filters": {"and": [terms("suggestion", "relevant"), high]}}
    yield "sort: score of the suggestion", {"sort": sort("score")}
    everything = {"and": [pending, terms("source", "uncited"), high]}
    yield "text, filters and a sort", {"query": {"text": {"q": "w2 w5"}}, "filters": everything, "sort": sort("score")}
    yield "similar", {"query": {"vector": near}}
    yield "least similar", {"query": {"vector": near | {"order": "least_similar"}}}
    yield "similar, with text and filters", {"query": {"vector": near, "text": {"q": "w2"}}, "filters": everything}


def _search(measured: Measured, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Search as the page does for a reviewer: how long it takes the first time and then warm, and the server's CPU."""
    reviewer = local_argilla.add_user(measured.server.home, "reviewer")
    server = replace(measured.server, api_key=reviewer.api_key)
    path = f"/me/datasets/{measured.dataset_id}/records/search?limit={_PAGE}&include=responses,suggestions"
    taken_ms = []
    cpu_begun = 0.0
    for turn in range(_TIMES):
        cpu_begun = measured.cpu_s() if turn == 1 else cpu_begun
        begun = time.perf_counter()
        answer = _ask(server, "POST", path, body)
        taken_ms.append(1000 * (time.perf_counter() - begun))
    warm = taken_ms[1:]
    cpu_ms = 1000 * (measured.cpu_s() - cpu_begun) / len(warm)
    times = {"first_ms": taken_ms[0], "median_ms": median(warm), "slowest_ms": max(warm), "cpu_ms": cpu_ms}
    return {"search": name, "found": answer["total"]} | {key: round(value, 1) for key, value in times.items()}


def _result(ours: Measured, stock: Measured, searches: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together what is told, and whether the goals are met."""
    rate, stock_rate = ours.records_per_s(stock.pushed), stock.records_per_s(stock.pushed)
    goals = {
        "ready in 10 s": ours.ready_s <= 10,
        "pushes 3 times as fast": rate >= 3 * stock_rate,
        "memory under 1 GB": ours.memory < 1e9,
    }
    if ours.pushed <= _SEARCHED_FAST:
        goals["each search under 300 ms, warm"] = max(search["median_ms"] for search in searches) < 300
    return {
        "stock": "argilla-server as published, without the speed patch, on SQLite with the same search engine",
        "local": {**_figures(ours), "push_records_per_s": round(ours.records_per_s(ours.pushed), 1)},
        "stock_figures": {**_figures(stock), "push_records_per_s": round(stock_rate, 1)},
        "push_ratio": {
            "records_each": stock.pushed,
            "local_over_stock": round(rate / stock_rate, 2),
            "by_cpu": round(sum(stock.push_cpu_s) / sum(ours.push_cpu_s[: len(stock.push_cpu_s)]), 2),
        },
        "searches": searches,
        "goals": goals,
    }


def _figures(measured: Measured) -> dict[str, Any]:
    return {
        "ready_s": round(measured.ready_s, 2),
        "records": measured.pushed,
        "push_cpu_ms_a_record": round(1000 * sum(measured.push_cpu_s) / measured.pushed, 2),
        "push_last_batch_records_per_s": round(_BATCH / measured.push_s[-1], 1),
        "pull_records_per_s": round(measured.pushed / measured.pull_s, 1),
        "memory_mib": round(measured.memory / _MIB),
    }


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"Stock: {result['stock']}.\n", highlight=False)
    servers = Table("", "local", "stock", title="Servers")
    for name in result["local"]:
        servers.add_row(name.replace("_", " "), f"{result['local'][name]:,}", f"{result['stock_figures'][name]:,}")
    console.print(servers)
    ratio = result["push_ratio"]
    console.print(
        f"Over the first {ratio['records_each']:,} records the local server takes {ratio['local_over_stock']} times "
        f"as many a second as the stock one, with 1/{ratio['by_cpu']} of its processor time. "
        "Nothing is extrapolated.\n",
        highlight=False,
    )
    found = Table("search", "found", "first ms", "median", "slowest", "CPU", title=f"{_TIMES - 1} warm searches each")
    for search in result["searches"]:
        found.add_row(*(value if isinstance(value, str) else f"{value:,.0f}" for value in search.values()))
    console.print(found)
    for goal, met in result["goals"].items():
        console.print(f"{'met   ' if met else 'MISSED'} {goal}", highlight=False)


if __name__ == "__main__":
    main()

"""Measure what the judge adds to its endpoint's own time: `python bench/judge.py [--pairs N] [--rounds R] [--json]`.

A stub in a process of its own answers every request after 50 ms. A bare loop with the same client asks it the same
questions, and so does the judge, in turns, so that a busy machine slows both alike. The bare loop knows its prompts
and schemas beforehand, keeps nothing and checks nothing; the judge reads pairs from DuckDB, renders, checks and prices
the answers, and writes them.

`--memory N` runs the judge over N pairs with a stage that answers in this process, without HTTP: memory at each tenth
of the way, and the time that reading, rendering, checking and writing take by themselves.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

# In the place of this folder, whose argilla.py would hide the package of that name.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil  # noqa: E402

from labeling.answers import judgment_of  # noqa: E402
from labeling.chat import read_completion, request_body  # noqa: E402
from labeling.chat_stage import Questions  # noqa: E402
from labeling.endpoint import TRANSIENT  # noqa: E402
from labeling.judge import judge_candidates  # noqa: E402
from labeling.judge_run import Run, StageResult, Work  # noqa: E402
from labeling.stages import Answered  # noqa: E402
from store.candidates import Candidate, put_candidates  # noqa: E402
from store.database import Store  # noqa: E402
from store.endpoint_forms import Form  # noqa: E402
from store.ids import anchor_id, chunk_id  # noqa: E402
from store.interactions import Interaction, Retrieved, add_interactions  # noqa: E402
from store.judge_queue import PairToJudge, queue_pairs, queued_pairs, set_scope  # noqa: E402
from store.judgments import add_judge  # noqa: E402
from store.policies import Label, Policy, add_policy  # noqa: E402
from store.progress import Progress  # noqa: E402
from store.workspace import JudgeSettings, Price  # noqa: E402

CHUNKS = 20  # of each anchor
MODEL = "stub"
ANSWER = {"quote": "turn the knob", "label": "helps", "reason": "it says what to turn and how far"}
REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": json.dumps(ANSWER), "refusal": None},
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 500,
            "completion_tokens": 40,
            "total_tokens": 540,
            "prompt_tokens_details": {"cached_tokens": 400},
        },
    }
).encode()
POLICY = Policy(
    name="helps",
    question="Does the chunk help to do what the query asks?",
    anchor="a query",
    candidate="a chunk of a manual",
    labels=(Label("helps", "it says how", "positive"), Label("does-not-help", "it does not say how", "negative")),
    signals={},
)
SAMPLING = {"temperature": 0, "max_tokens": 400, "seed": 1}


class Stub(asyncio.Protocol):
    """The least of HTTP that a client needs: reads a request, answers after a while."""

    delay_s = 0.05

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that has arrived whole."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            start = head.index(b"content-length:") + len(b"content-length:")
            length = int(head[start:].split(b"\r\n", 1)[0])
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            asyncio.get_running_loop().call_later(self.delay_s, self._reply)

    def _reply(self) -> None:
        if not self.transport.is_closing():
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REPLY)
            self.transport.write(head + REPLY)


def serve(delay_s: float, ready: Connection) -> None:
    """Run the stub until the process is ended; sends its port."""

    async def run() -> None:
        Stub.delay_s = delay_s
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=512)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def stub(delay_s: float) -> Iterator[str]:
    """Give the base URL of a stub that lives as long as the block."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(delay_s, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def fill(store: Store, pairs: int) -> Policy:
    """Put so many pairs forward, of texts of some 600 characters."""
    texts = [(f"Chunk {n} of the manual: turn the knob {n} times. " * 12).strip() for n in range(CHUNKS)]
    policy, _ = add_policy(store, POLICY)
    for first in range(0, pairs // CHUNKS, 1000):
        anchors = [f"how do I set dial {n}?" for n in range(first, min(first + 1000, pairs // CHUNKS))]
        retrieved = tuple(Retrieved(f"c{n}", n + 1, text) for n, text in enumerate(texts))
        with store.transaction():
            log = [Interaction(anchor, retrieved, (), n) for n, anchor in enumerate(anchors, start=first)]
            add_interactions(store, log, import_id="bench")
        found = [
            Candidate(anchor_id(a), chunk_id(text), "uncited" if n else "cited", "negative" if n else "positive", "", n)
            for a in anchors
            for n, text in enumerate(texts)
        ]
        put_candidates(store, policy.name, found)
    return policy


class Spent(NamedTuple):
    """Seconds of the clock, and of this process on a processor."""

    seconds: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Spent:
    """Tell what some work takes."""
    clock, cpu = time.monotonic(), time.process_time()
    work()
    return Spent(time.monotonic() - clock, time.process_time() - cpu)


def bare_loop(bodies: list[dict[str, Any]], url: str, concurrency: int) -> None:
    """Send some requests with the client alone."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    async def run() -> None:
        waiting = iter(bodies)
        async with AsyncOpenAI(api_key="no-key", base_url=url, http_client=DefaultAsyncHttpxClient()) as client:

            async def ask() -> None:
                for body in waiting:
                    completion = await client.chat.completions.create(**body)
                    assert completion.choices[0].message.content

            await asyncio.gather(*(ask() for _ in range(concurrency)))

    asyncio.run(run())


def judge(store: Store, policy: Policy, url: str, concurrency: int, model: str) -> None:
    """Judge all pairs."""
    settings = JudgeSettings(model=model, base_url=url, concurrency=concurrency)
    result = judge_candidates(store, policy, settings, {model: Price(input=1, output=1)})
    assert not result.errors, result.errors


class Instant:
    """A `labeling.stages.Stage` that answers at once what the stub answers."""

    at_once = 64
    resume_at = 0.0

    def __init__(self, policy: Policy, judge_id: str) -> None:
        """Ask nobody."""
        self.questions, self.judge_id = Questions(policy, MODEL, SAMPLING), judge_id

    def next_batch(self, queue: deque[PairToJudge]) -> list[PairToJudge]:
        """One pair at a time."""
        return [queue.popleft()]

    def most_usd(self, batch: Sequence[PairToJudge]) -> float:
        """Nothing."""
        return 0.0

    async def answer(self, batch: Sequence[PairToJudge]) -> list[Answered]:
        """Render the prompt, and read and check the reply, as if it had come over the wire."""
        (pair,) = batch
        request = self.questions.about(pair)
        reply = read_completion(REPLY.decode(), request, duration_ms=0)
        policy, price = self.questions.policy, Price(input=1, output=1)
        return [Answered(judgment_of(pair, request, reply, policy=policy, judge_id=self.judge_id, price=price))]


def judge_in_process(store: Store, policy: Policy, progress: Progress) -> None:
    """Let a stage that needs no server answer all pairs."""
    judge_id = add_judge(store, {"model": MODEL})
    set_scope(store, policy)
    result = StageResult("chat", MODEL, judge_id, 0.0)
    work = Work(policy, judge_id, retry=TRANSIENT, limit=None, budget=None, recorder=None)
    asyncio.run(Run(store, work, Instant(policy, judge_id), result, progress).go())
    assert result.remaining == 0


class Watch:
    """A `store.progress.Progress` that looks at this process's memory at each tenth of the way."""

    def __init__(self) -> None:
        """See nothing yet."""
        self.mib: list[int] = []
        self._done = self._total = 0

    def start(self, description: str, total: int | None) -> None:
        """Begin."""
        self.mib, self._done, self._total = [], 0, total or 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Look."""
        self._done += steps
        while len(self.mib) < 10 and self._done * 10 >= self._total * (len(self.mib) + 1):
            self.mib.append(psutil.Process().memory_info().rss >> 20)
            print(f"{self._done:,} pairs: {self.mib[-1]} MiB", file=sys.stderr)


def measure(pairs: int, rounds: int, concurrency: int, delay_ms: int, memory: int) -> dict[str, Any]:
    """Run both in turns and return pairs a second of each round, and the memory."""
    bare: list[Spent] = []
    judged: list[Spent] = []
    watch, alone = Watch(), Spent(0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder, stub(delay_ms / 1000) as url:
        with Store(Path(folder, "speed.duckdb")) as store:
            policy = fill(store, pairs)
            set_scope(store, policy)
            asked = queued_pairs(store, after=0, limit=queue_pairs(store, policy, "", retry=()))
            questions = Questions(policy, MODEL, SAMPLING)
            bodies = [request_body(questions.about(pair), Form("json_schema")) for pair in asked]
            for turn in range(rounds):
                bare.append(timed(lambda: bare_loop(bodies, url, concurrency)))
                judged.append(timed(partial(judge, store, policy, url, concurrency, f"{MODEL}-{turn}")))
        if memory:
            with Store(Path(folder, "memory.duckdb")) as store:
                alone = timed(partial(judge_in_process, store, fill(store, memory), watch))
    return {
        "pairs": pairs,
        "concurrency": concurrency,
        "delay_ms": delay_ms,
        "bare_pairs_per_s": [round(pairs / one.seconds, 1) for one in bare],
        "judge_pairs_per_s": [round(pairs / one.seconds, 1) for one in judged],
        "bare_cpu_ms_a_pair": [round(1000 * one.cpu_s / pairs, 2) for one in bare],
        "judge_cpu_ms_a_pair": [round(1000 * one.cpu_s / pairs, 2) for one in judged],
        "share": round(median(b.seconds / j.seconds for j, b in zip(judged, bare, strict=True)), 3) if rounds else None,
        "memory_pairs": memory,
        "judge_alone_pairs_per_s": round(memory / alone.seconds, 1) if memory else None,
        "judge_alone_cpu_ms_a_pair": round(1000 * alone.cpu_s / memory, 3) if memory else None,
        "memory_mib_at_each_tenth": watch.mib,
    }


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay-ms", type=int, default=50)
    parser.add_argument("--memory", type=int, default=0, metavar="PAIRS")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen.pairs, chosen.rounds, chosen.concurrency, chosen.delay_ms, chosen.memory)
    if chosen.json:
        print(json.dumps(found))
        return
    for name in ("bare", "judge"):
        speeds = zip(found[f"{name}_pairs_per_s"], found[f"{name}_cpu_ms_a_pair"], strict=True)
        print(f"{name:>5}: " + "  ".join(f"{speed:6.1f} pairs/s ({cpu:.2f} ms CPU a pair)" for speed, cpu in speeds))
    if found["share"] is not None:
        print(
            f"The judge does {found['share']:.1%} of the bare loop's pairs a second (median of {chosen.rounds} rounds)."
        )
    if found["memory_mib_at_each_tenth"]:
        print(f"Memory at each tenth of {chosen.memory:,} pairs, MiB: {found['memory_mib_at_each_tenth']}")
        print(
            f"Without a server: {found['judge_alone_pairs_per_s']:,} pairs/s,"
            f" {found['judge_alone_cpu_ms_a_pair']} ms CPU a pair"
        )


if __name__ == "__main__":
    main()

"""How long `uncited.log` keeps an application waiting.

    python -m bench.log [--calls N]

Prints, for lists of 5, 10 and 20 chunks of 500 characters, the median and the 99th percentile of a call, and what of
it is spent on the processor (the rest is waiting for the machine's other work).
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import uncited

_TEXT = "How long a flea lives without a host depends on how dry it is once the dog has left. " * 6


class Taken(NamedTuple):
    """Microseconds of a call."""

    median: float
    slow: float  # the 99th percentile
    processor: float  # the mean


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    calls = parser.parse_args().calls
    print(f"{'chunks':>6} {'bytes a line':>13} {'median':>10} {'99 %':>10} {'processor':>10}   microseconds a call")
    for chunks in (5, 10, 20):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "log.jsonl"
            taken = measure(file, chunks, calls)
            print(f"{chunks:>6} {file.stat().st_size // calls:>13,}" + "".join(f" {value:>10.1f}" for value in taken))


def measure(file: Path, chunks: int, calls: int) -> Taken:
    """Log `calls` interactions of so many chunks into `file`."""
    text = _TEXT[:500]
    retrieved = [{"chunk_id": f"handbook#{n}", "text": text, "score": 1 / (n + 1)} for n in range(chunks)]
    waits = []
    processor = time.process_time()
    for number in range(calls):
        before = time.perf_counter()
        uncited.log(file, f"question {number}?", retrieved=retrieved, cited=["handbook#0"], answer=text[:200])
        waits.append(time.perf_counter() - before)
    processor = time.process_time() - processor
    waits.sort()
    return Taken(waits[calls // 2] * 1e6, waits[int(calls * 0.99)] * 1e6, processor / calls * 1e6)


if __name__ == "__main__":
    main()

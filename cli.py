"""The command line: each command parses, calls one function of the packages, and prints what it returns.

Nothing heavy is imported at the top, so that `uncited --help` answers at once.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from store.errors import MissingError, UserError

if TYPE_CHECKING:
    from labeling.judge_run import JudgeResult
    from printing import Output
    from store.builds import Build
    from store.database import Store
    from store.policies import Policy
    from store.workspace import Workspace
    from train.evaluate import Ranking

app = typer.Typer(
    name="uncited",
    help="Turn retrieval logs into training triplets that people have checked.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
policy_app = typer.Typer(help="Define what similar means.", no_args_is_help=True)
review_app = typer.Typer(help="Have people check candidates.", no_args_is_help=True)
argilla_app = typer.Typer(help="Run Argilla, the reviewing surface, on this machine.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
app.add_typer(argilla_app, name="argilla")
app.add_typer(review_app, name="review")

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="UNCITED_WORKSPACE", help="The workspace folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, and no progress.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and nothing else.")]
PolicyOption = Annotated[str, typer.Option("--policy", "-p", help="Name of the policy.")]
BuildOption = Annotated[str | None, typer.Option("--build", help="Id of a build, or its beginning; default: newest.")]
HERE = Path()
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class Session(NamedTuple):
    """What most commands need: the workspace, its open database and a place to print to."""

    workspace: "Workspace"
    store: "Store"
    out: "Output"

    def policy(self, name: str) -> "Policy":
        """Return the newest version of a policy."""
        from store.policies import get_policy

        return get_policy(self.store, name)

    def build(self, policy_name: str, build_id: str | None) -> "Build":
        """Return the build named, or the newest of a policy."""
        from store.builds import get_build, latest_build

        return get_build(self.store, build_id) if build_id else latest_build(self.store, self.policy(policy_name).name)


@contextlib.contextmanager
def opened(root: Path, *, as_json: bool, quiet: bool) -> Iterator[Session]:
    """Open the workspace for the length of a command."""
    from printing import Output
    from store.workspace import open_workspace

    workspace = open_workspace(root)
    with workspace.open() as store:
        yield Session(workspace, store, Output(as_json=as_json, quiet=quiet))


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to.")] = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a workspace: settings, an example policy and an empty database."""
    from printing import Output, relative
    from store.workspace import create_workspace

    workspace = create_workspace(directory)
    out = Output(as_json=json, quiet=quiet)
    if out.json({"workspace": workspace.root.resolve()}):
        return
    out.line(f"Workspace in {relative(workspace.root)}: uncited.toml, policies/example.yaml, uncited.duckdb")
    out.next("uncited import FILE", "uncited policy add policies/example.yaml")


@app.command()
def schema(what: Annotated[Literal["interactions"], typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of an input format."""
    from mining.log_format import json_schema
    from printing import Output

    Output(as_json=True, quiet=True).json(json_schema())


@policy_app.command("add")
def policy_add(
    file: Annotated[Path, typer.Argument(help="A YAML policy.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a policy file and store it as a new version if it says something new."""
    from labeling.policies import load_policy, warnings
    from store.policies import add_policy

    policy = load_policy(file)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        stored, is_new = add_policy(session.store, policy)
        if session.out.json({**_policy_summary(stored), "new": is_new, "warnings": warnings(stored)}):
            return
        for warning in warnings(stored):
            session.out.note(f"Warning: {file}: {warning}")
        session.out.line(f"{stored.name} version {stored.version}: {'added' if is_new else 'nothing changed'}")
        session.out.next(f"uncited mine --policy {stored.name}")


@policy_app.command("list")
def policy_list(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the policies with their newest versions."""
    from store.policies import list_policies

    with opened(workspace, as_json=json, quiet=quiet) as session:
        policies = list_policies(session.store)
        if session.out.json([_policy_summary(policy) for policy in policies]):
            return
        rows = [(p.name, p.version, ", ".join(label.name for label in p.labels), p.question) for p in policies]
        session.out.table("", ("policy", "version", "labels", "question"), rows)
        if not policies:
            session.out.next("uncited policy add policies/example.yaml")


@policy_app.command("show")
def policy_show(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a policy as judges and reviewers read it, with its versions and fingerprints."""
    from store.policies import policy_versions

    with opened(workspace, as_json=json, quiet=quiet) as session:
        policy = session.policy(name)
        versions = policy_versions(session.store, name)
        if session.out.json({**_policy_summary(policy), "policy": policy, "versions": len(versions)}):
            return
        out = session.out
        out.line(f"{policy.name} version {policy.version}" + (f": {policy.title}" if policy.title else ""))
        out.line(f"anchor     {policy.anchor}")
        out.line(f"candidate  {policy.candidate}")
        out.line(f"question   {policy.question}")
        out.table("", ("label", "role", "meaning"), [(a.name, a.role, a.meaning) for a in policy.answers])
        out.table("", ("signal", "suggests"), list(policy.signals.items()))
        out.line(f"labelling fingerprint  {policy.labelling_fingerprint}")
        out.line(f"training fingerprint   {policy.training_fingerprint}")


@app.command("import")
def import_(
    files: Annotated[list[str], typer.Argument(help="JSON Lines, plain or gzip; - is standard input.")],
    corpus: Annotated[Path | None, typer.Option(help="Chunk texts, where the logs name chunks by id only.")] = None,
    skip_invalid: Annotated[bool, typer.Option(help="Import the good lines, write the bad ones to a file.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Which file; default: FILE.rejected.jsonl.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import interaction logs: each file wholly or not at all, and twice is as good as once."""
    from mining.import_log import import_files
    from printing import relative

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        result = import_files(
            session.store, files, corpus=corpus, skip_invalid=skip_invalid, rejects=rejects, progress=bar
        )
        if session.out.json(result):
            return
        columns = ("file", "interactions", "known", "chunks", "retrievals", "rejected")
        rows = [(f.file, f.interactions, f.known, f.chunks, f.retrievals, f.rejected) for f in result.files]
        session.out.table("New in this import", columns, rows)
        for file in result.files:
            if file.rejects:
                session.out.line(f"{file.rejected} rejected lines, with reasons, in {relative(file.rejects)}")
        session.out.next("uncited policy add policies/example.yaml", "uncited mine --policy NAME")


@app.command()
def mine(
    policy: PolicyOption,
    random: Annotated[int, typer.Option(min=0, help="Random negatives for each query.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws other random negatives.")] = 0,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put candidate positives and negatives forward from the logs."""
    from mining.candidates import mine as mine_candidates

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        chosen = session.policy(policy)
        result = mine_candidates(session.store, chosen, random_per_anchor=random, seed=seed, progress=bar)
        if session.out.json(result):
            return
        columns = ("source", "candidate", "pairs", "queries", "repeat a positive")
        session.out.table(f"Candidates under {chosen.name}", columns, result.sources)
        session.out.line(
            f"{result.interactions} interactions, {result.without_positive} without a positive signal;"
            f" {result.new} candidates new, {result.removed} withdrawn"
        )
        session.out.note("Chunks that repeat a positive never become negatives; nobody needs to look at them.")
        session.out.next(f"uncited judge --policy {policy}", f"uncited review push --policy {policy}")


@app.command()
def judge(
    policy: PolicyOption,
    model: Annotated[str | None, typer.Option(help="The model, as its endpoint names it.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=512, help="Requests in flight.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many pairs.")] = None,
    retry_errors: Annotated[bool, typer.Option(help="Ask again where an answer could not be used.")] = False,
    record: Annotated[Path | None, typer.Option(help="Write the replies to this file too.")] = None,
    recording: Annotated[Path | None, typer.Option(help="Answer from this file, not from an endpoint.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a language model pre-label the candidates. Its labels are suggestions until people have checked them."""
    from labeling.judge import judge_candidates

    with opened(workspace, as_json=json, quiet=quiet) as session:
        given = {"model": model, "base_url": base_url, "concurrency": concurrency}
        settings = session.workspace.settings.judge.model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )
        with session.out.progress() as bar:
            result = judge_candidates(
                session.store,
                session.policy(policy),
                settings,
                session.workspace.settings.prices,
                recording=recording,
                record_to=record,
                limit=limit,
                retry_errors=retry_errors,
                progress=bar,
            )
        if not session.out.json(result):
            _print_judged(session.out, result)
            session.out.next(f"uncited argilla up && uncited review push --policy {policy}")
    if result.interrupted:
        raise typer.Exit(130)


def _print_judged(out: "Output", result: "JudgeResult") -> None:
    rows = [(label, "label", count) for label, count in result.labels.most_common()]
    rows += [(error, "error", count) for error, count in result.errors.most_common()]
    out.table(f"Answers of {result.model}", ("answer", "is a", "pairs"), rows)
    cost = "cost unknown" if result.cost_usd is None else f"${result.cost_usd:.4f}"
    out.line(
        f"{result.judged} pairs judged in {result.seconds:.0f} s; {result.prompt_tokens:,} prompt tokens"
        f" ({result.cached_tokens:,} cached), {result.completion_tokens:,} completion tokens; {cost}"
    )
    if result.quotes_missing:
        out.line(f"{result.quotes_missing} answers quote words that are not in the chunk")
    if result.not_recorded:
        out.line(f"{result.not_recorded} pairs are not in the recording; people will see them without a suggestion")
    if result.remaining:
        out.line(f"{result.remaining} pairs remain; run the same command again to go on")


@app.command()
def triage(
    policy: PolicyOption,
    model: Annotated[str, typer.Option(help="A sentence-transformers model: path or name.")] = DEFAULT_MODEL,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Order the review queue by similarity where there is no judge. This is no judge: it labels nothing."""
    from labeling.triage import triage_candidates

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        result = triage_candidates(session.store, session.policy(policy), model=model, progress=bar)
        if not session.out.json(result):
            session.out.line(f"{result.scored} pairs scored in {result.seconds:.0f} s. This is no judge: it orders the")
            session.out.line("review queue, for which similarity is a weak guide, and labels nothing.")
            session.out.next(f"uncited argilla up && uncited review push --policy {policy}")


@argilla_app.command("up")
def argilla_up(
    port: Annotated[int | None, typer.Option(help="Default: 6900, or the next free one.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Start this workspace's Argilla; the first time on a machine installs it (about a minute)."""
    from labeling import local_argilla
    from printing import Output, relative
    from store.workspace import open_workspace

    home = open_workspace(workspace).argilla_home
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        server = local_argilla.up(home, port=port, progress=bar)
    if not out.json({"url": server.url, "pid": server.pid, "username": server.username, "home": home}):
        out.line(f"Argilla is running at {server.url} (process {server.pid})")
        out.line(f"Sign in as {server.username}; the password is in {relative(home / 'credentials.json')}")
        out.next("uncited review push --policy NAME", "uncited argilla user NAME")


@argilla_app.command("down")
def argilla_down(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Stop this workspace's Argilla. Its reviews stay."""
    from labeling import local_argilla
    from printing import Output
    from store.workspace import open_workspace

    stopped = local_argilla.down(open_workspace(workspace).argilla_home)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"stopped": stopped}):
        out.line("Argilla has stopped" if stopped else "Argilla was not running")


@argilla_app.command("status")
def argilla_status(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Say whether this workspace's Argilla runs, and where."""
    from labeling import local_argilla
    from printing import Output
    from store.workspace import open_workspace

    server = local_argilla.status(open_workspace(workspace).argilla_home)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"running": server is not None, "url": server.url if server else None}):
        out.line(f"running at {server.url} (process {server.pid})" if server else "not running")
        if not server:
            out.next("uncited argilla up")


@argilla_app.command("user")
def argilla_user(
    name: Annotated[str, typer.Argument(help="Name of the reviewer.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a reviewer of this workspace's Argilla, with a random password; the same name gives the same one."""
    from labeling import local_argilla
    from printing import Output
    from store.workspace import open_workspace

    user = local_argilla.add_user(open_workspace(workspace).argilla_home, name)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"username": user.username, "password": user.password, "role": user.role}):
        out.line(f"{user.username} ({user.role}), password: {user.password}")


@review_app.command("push")
def review_push(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Put the candidates before reviewers in Argilla, those first that help most."""
    from labeling.argilla_client import connect
    from labeling.review import push_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        client = connect(session.workspace.argilla_home)
        result = push_reviews(session.store, session.policy(policy), client, progress=bar)
        if not session.out.json(result):
            session.out.line(
                f"{result.dataset}: {result.new} records new, {result.updated} updated, {result.unchanged} unchanged,"
                f" {result.kept} answered and left as they are"
            )
            for pair, reason in result.refused:
                session.out.line(f"refused: {pair}: {reason}")
            session.out.line(f"Review them at {result.url}")
            session.out.next(f"uncited review pull --policy {policy}")
    if result.refused:
        raise typer.Exit(6)


@review_app.command("pull")
def review_pull(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Bring the reviews home from Argilla."""
    from labeling.argilla_client import connect
    from labeling.review import pull_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        client = connect(session.workspace.argilla_home)
        result = pull_reviews(session.store, session.policy(policy), client, progress=bar)
        if not session.out.json(result):
            session.out.line(
                f"{result.dataset}: {result.submitted} submitted, {result.discarded} discarded, {result.drafts} drafts"
                f" among {result.records} records; {result.new} reviews are new here"
            )
            for problem in result.problems:
                session.out.line(f"Note: {problem}")
            session.out.next(f"uncited build --policy {policy}")


@review_app.command("status")
def review_status(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Say how far the reviews are, in Argilla and here."""
    from labeling.argilla_client import connect
    from labeling.review import review_status as status_of_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session:
        client = None
        try:
            client = connect(session.workspace.argilla_home)
        except UserError as error:
            session.out.note(f"Not asked: {error.message}")
        result = status_of_reviews(session.store, session.policy(policy), client)
        if session.out.json(result):
            return
        if result.on_server:
            columns = ("reviewer", "submitted", "discarded", "draft", "pending")
            rows = [(r.reviewer, r.submitted, r.discarded, r.draft, r.pending) for r in result.on_server.reviewers]
            title = f"{result.dataset}: {result.on_server.completed} of {result.on_server.records} records completed"
            session.out.table(title, columns, rows)
        columns = ("reviewer", "stream", "status", "label", "reviews")
        session.out.table("Reviews here", columns, [tuple(row[name] for name in columns) for row in result.at_home])


@review_app.command("import")
def review_import(
    file: Annotated[Path, typer.Argument(help="CSV or JSON Lines: query, chunk, label, reviewer, time, note.")],
    policy: PolicyOption,
    reviewer: Annotated[str | None, typer.Option(help="Who labelled, where a row does not say.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take labels that people gave elsewhere."""
    from labeling.review_files import import_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = import_reviews(session.store, session.policy(policy), file, reviewer=reviewer)
        if not session.out.json(result):
            session.out.line(
                f"{result.rows} labels read: {result.new} new, {result.known} known;"
                f" {result.candidates} pairs were no candidates before"
            )
            session.out.next(f"uncited build --policy {policy}")


@app.command()
def build(
    policy: PolicyOption,
    judge_labels: Annotated[
        bool, typer.Option(help="Use the judge's labels too where no person answered. Nobody has checked those.")
    ] = False,
    test_share: Annotated[float, typer.Option(help="Share of the queries held back for evaluation.")] = 0.3,
    negatives: Annotated[int, typer.Option(help="At most so many negatives for each positive.")] = 16,
    seed: Annotated[int, typer.Option(help="Splits otherwise.")] = 0,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make an immutable set of triplets from the labels as they stand."""
    from printing import percent
    from train.triplets import build as build_triplets

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = build_triplets(
            session.store,
            session.policy(policy),
            judge_labels=judge_labels,
            test_share=test_share,
            negatives_per_positive=negatives,
            seed=seed,
        )
        if session.out.json(result):
            return
        out, share = session.out, result.uncited
        out.table(f"Build {result.build.build_id}", ("what", "count"), list(result.counts.items()))
        if result.judge_labels:
            out.line(f"{result.judge_labels} labels of this build are a judge's, and no person has checked them.")
        if share.trials:
            out.line(
                f"{share.successes} of {share.trials} reviewed uncited chunks are relevant: {percent(share.value)}"
                f" (95 % interval {percent(share.low)} to {percent(share.high)})"
            )
        out.note("This build is new." if result.is_new else "The same labels gave the same build: nothing changed.")
        out.next(f"uncited export --policy {policy} --out DIR", f"uncited train --policy {policy}")


@app.command()
def export(
    policy: PolicyOption,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    format: Annotated[Literal["triplets", "grouped"], typer.Option(help="Shape of a row.")] = "triplets",
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a build as JSON Lines and Parquet, with a manifest."""
    from printing import relative
    from train.export import export as export_build

    with opened(workspace, as_json=json, quiet=quiet) as session:
        manifest = export_build(session.store, session.build(policy, build_id), out_dir, format=format)
        if session.out.json({"folder": manifest.folder, "new": manifest.is_new, "manifest": manifest.body}):
            return
        session.out.line(f"{relative(manifest.folder)}: {'written' if manifest.is_new else 'was there, unchanged'}")
        for file in sorted(manifest.folder.iterdir()):
            session.out.line(f"  {file.name}  {file.stat().st_size:,} bytes")


@app.command()
def train(
    policy: PolicyOption,
    base_model: Annotated[str, typer.Option(help="Folder, or name on the Hugging Face hub.")] = DEFAULT_MODEL,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the model; default: models/...")] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the triplets.")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Triplets a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="The peak.")] = 2e-5,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    seed: Annotated[int, typer.Option(help="Of batches and dropout.")] = 0,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune an embedding model on a build's train split."""
    from printing import Output, relative
    from store.builds import build_triplets
    from train.bi_encoder import train_bi_encoder

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.build(policy, build_id)
        triplets = build_triplets(session.store, chosen.build_id, split="train")
        folder = out_dir or session.workspace.model_folder(policy, chosen.build_id)
    out = Output(as_json=json, quiet=quiet)  # the database is closed: training takes long, and others may want it
    with out.progress() as bar:
        result = train_bi_encoder(
            triplets,
            build_id=chosen.build_id,
            base_model=base_model,
            out=folder,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            max_steps=max_steps,
            progress=bar,
        )
    if not out.json(result):
        done = "trained" if result.is_new else "was trained before, with the same settings"
        out.line(f"{relative(result.model)}: {done}; {result.run['steps']} steps, {result.run['seconds']:.0f} s")
        out.next(f"uncited evaluate --policy {policy} --base-model {base_model}")


@app.command()
def evaluate(
    policy: PolicyOption,
    base_model: Annotated[str, typer.Option(help="The model to compare with.")] = DEFAULT_MODEL,
    model: Annotated[Path | None, typer.Option(help="The tuned model; default: the one `train` made.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare a tuned model with its base on a build's test split; a gain is named only where it is certain."""
    from printing import Output, percent
    from train.evaluate import compare, read_held_out

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.build(policy, build_id)
        held_out = read_held_out(session.store, chosen)
        tuned = model or session.workspace.model_folder(policy, chosen.build_id)
    if not tuned.exists():
        raise MissingError(f"no model at {tuned}", hint=f"uncited train --policy {policy}")
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        result = compare(held_out, {"base": base_model, "tuned": str(tuned)}, seed=seed, progress=bar)
    if out.json(result):
        return
    _print_ranking(out, "Ranking the labelled chunks of each query", result.labelled)
    _print_ranking(out, f"Searching {result.pool:,} chunks; those without a label count as wrong", result.collection)
    out.line(f"{percent(result.human_share)} of the {result.labels} test labels are people's, the rest a judge's")
    if result.left_out:
        out.line(f"{result.left_out} test queries without a positive are left out")


def _print_ranking(out: "Output", title: str, ranking: "Ranking") -> None:
    from printing import percent

    rows = []
    for metric in ranking.metrics:
        difference = metric.differences["tuned"]
        interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
        row = (metric.name, metric.values["base"], metric.values["tuned"], f"{difference.value:+.3f}", interval)
        rows.append((*row, difference.verdict))
    out.table(title, ("metric", "base", "tuned", "difference", "95 % interval", "verdict"), rows)
    shares = ", ".join(f"{name} {percent(share)}" for name, share in ranking.judged.items())
    out.line(f"{ranking.queries} queries in {ranking.groups} groups; share of the first ten with a label: {shares}")


@app.command()
def status(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Say how far the workspace is, and what usually comes next."""
    from store.status import workspace_status

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = workspace_status(session.store)
        if session.out.json(result):
            return
        session.out.table("Logs", result.log._fields, [result.log])
        if result.policies:
            session.out.table("Policies", result.policies[0]._fields, result.policies)
        session.out.next(result.next_command)


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(help="The workspace to make.")] = Path("demo"),
    model: Annotated[str | None, typer.Option(help="Judge live with this model, given a key or --base-url.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Judge live at this OpenAI-compatible endpoint.")] = None,
    argilla_left_running: Annotated[bool, typer.Option(help="Leave Argilla running for you to review.")] = True,
) -> None:
    """Go the whole way on a small real log: import, judge, review, build, export, train, evaluate."""
    from examples.pandas_docs.demo import Judge
    from examples.pandas_docs.demo import demo as run_demo

    def run(words: Sequence[str]) -> None:
        app(words, standalone_mode=False)

    judge_given = Judge(model, base_url)
    run_demo(directory, judge=judge_given, keep_argilla=argilla_left_running, run=run, say=typer.echo)


def _policy_summary(policy: "Policy") -> dict[str, object]:
    return {
        "name": policy.name,
        "version": policy.version,
        "policy_id": policy.policy_id,
        "labelling_fingerprint": policy.labelling_fingerprint,
        "training_fingerprint": policy.training_fingerprint,
    }


def main() -> None:
    """Run a command; an error made for the user is printed without a traceback."""
    try:
        app()
    except UserError as error:
        from printing import fail

        fail(error, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()

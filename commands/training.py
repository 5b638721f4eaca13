"""From labels to models: build, train."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from commands.builds import ID_SHOWN
from commands.session import (
    HERE,
    BuildOption,
    JsonOption,
    PolicyOption,
    QuietOption,
    WorkspaceOption,
    opened,
)
from store.errors import ProviderError, UsageError

if TYPE_CHECKING:
    from printing import Output
    from train.trainer import TrainResult

KindOption = Annotated[
    Literal["bi-encoder", "reranker", "multi-vector", "sparse"],
    typer.Option(metavar="KIND", help="Of model: bi-encoder, reranker, multi-vector or sparse."),
]
EpochsOption = Annotated[float, typer.Option(help="Passes over the rows.")]
BatchOption = Annotated[int, typer.Option(help="Rows a batch.")]
RateOption = Annotated[float, typer.Option(help="The peak.")]
NegativesOption = Annotated[int, typer.Option(help="Hard negatives a row.")]


def build(
    policy: PolicyOption,
    judge_labels: Annotated[
        bool, typer.Option("--judge-labels", help="Use the judge's labels too, as far as they are certified.")
    ] = False,
    uncertified: Annotated[
        bool, typer.Option("--uncertified", help="Use all of the judge's labels, certified or not.")
    ] = False,
    test_share: Annotated[float, typer.Option(help="Share of the queries held back for evaluation.")] = 0.3,
    negatives: Annotated[int, typer.Option(help="At most so many negatives for each positive.")] = 16,
    shared_chunks: Annotated[
        bool, typer.Option("--shared-chunks", help="Train also on chunks that test queries have as negatives.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another one, another split.")] = 0,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make an immutable set of triplets from the labels as they stand."""
    from printing import percent
    from store.builds import latest_build
    from store.certificates import void_certificates
    from train.triplets import build as build_triplets

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = build_triplets(
            session.store,
            session.policy(policy),
            resolution=session.workspace.settings.review.resolution,
            propagate=session.workspace.settings.review.propagate,
            judge_labels=judge_labels,
            uncertified=uncertified,
            test_share=test_share,
            negatives_per_positive=negatives,
            shared_chunks=shared_chunks,
            seed=seed,
        )
        if session.out.json(result):
            return
        out, share = session.out, result.uncited
        counts = [(what, count) for what, count in result.counts.items() if count or what.startswith("triplets_t")]
        out.table(f"Build {result.build.build_id}", ("what", "count"), counts)
        if judge_labels and not uncertified:
            review = session.workspace.settings.review
            for void in void_certificates(session.store, session.policy(policy), resolution=review.resolution):
                reasons = "; ".join(void.void_because)
                out.line(
                    f"The certificate of the {void.certificate.group} is void ({reasons}): their labels are left out"
                )
                out.next(f"uncited certify --policy {policy}")
        if result.judge_labels:
            standing = "without a certificate" if uncertified else f"certified: {', '.join(result.certificates)}"
            out.line(
                f"{result.judge_labels} labels of this build are a judge's, and no person has seen them; {standing}"
            )
        if share.trials:
            out.line(
                f"{share.successes} of {share.trials} reviewed uncited chunks are relevant: {percent(share.value)}"
                f" (95 % interval {percent(share.low)} to {percent(share.high)})"
            )
        held_back = result.counts["kept_from_training"]
        if held_back and not shared_chunks:
            out.note(f"{held_back} labels are kept from training, as the test split has their chunks (--shared-chunks)")
        out.note("This build is new." if result.is_new else "The same labels gave the same build: nothing changed.")
        # The newest is what the next commands take by themselves, and what was built again may be an older one.
        newest = latest_build(session.store, policy).build_id == result.build.build_id
        named = "" if newest else f" --build {result.build.build_id[:ID_SHOWN]}"
        out.next(f"uncited export --policy {policy}{named} --out DIR", f"uncited train --policy {policy}{named}")


def train(
    policy: Annotated[
        list[str], typer.Option("--policy", "-p", help="Name of the policy; several make one model of all of them.")
    ],
    kind: KindOption = "bi-encoder",
    base_model: Annotated[
        str, typer.Option(help="Folder, or name on the Hugging Face hub; default: a small one of the kind.")
    ] = "",
    loss: Annotated[str, typer.Option(help="Another than the default of the kind; see docs/training.md.")] = "",
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the model; default: models/...")] = None,
    epochs: EpochsOption = 1.0,
    batch_size: BatchOption = 32,
    accumulate: Annotated[int, typer.Option(help="Batches a step.")] = 1,
    mini_batch_size: Annotated[
        int, typer.Option(help="Texts in memory at once, for a cached loss; pairs read at once, for lists.")
    ] = 32,
    learning_rate: RateOption = 2e-5,
    negatives: NegativesOption = 1,
    matryoshka: Annotated[str, typer.Option(help="Lengths at which embeddings should do, such as 256,128,64.")] = "",
    guide: Annotated[str, typer.Option(help="Model that guides the loss gist; default: the base model.")] = "",
    teacher: Annotated[
        str, typer.Option(help="Learn from the scores of this reranker (folder or name), or of the judge: judge.")
    ] = "",
    query_prompt: Annotated[
        str | None, typer.Option(help="Words before each query; default: those that the model wants, if any.")
    ] = None,
    chunk_prompt: Annotated[str | None, typer.Option(help="Words before each chunk.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    validation_share: Annotated[
        float, typer.Option(help="Share of the train queries held back to choose the best weights; 0 for none.")
    ] = 0.1,
    patience: Annotated[
        int | None, typer.Option(help="End early after so many validations without a gain; there are eight.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="NAME=2: see rows twice. A policy, human, judge, propagated, synthetic or a kind of chunk."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of batches, dropout, new weights and what is held back.")] = 0,
    push_to_hub: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="Publish it on the Hugging Face hub, in a private repository.")
    ] = "",
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune a model on a build's train split, or on those of several policies."""
    from printing import Output, relative
    from store.builds import note_output
    from train.hub import open_repository, push_model
    from train.kinds import fixed
    from train.processes import from_first, is_first
    from train.recipe import Recipe
    from train.rows import TrainingSplit
    from train.runs import finished_runs, newest_alone
    from train.tasks import read_training_splits
    from train.teacher import with_teacher
    from train.trainer import train as train_model

    recipe = Recipe(
        kind=kind,
        base_model=base_model,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        mini_batch_size=mini_batch_size,
        learning_rate=learning_rate,
        negatives=negatives,
        matryoshka=_lengths(matryoshka),
        guide=guide,
        teacher=teacher,
        query_prompt=query_prompt,
        chunk_prompt=chunk_prompt,
        max_steps=max_steps,
        validation_share=validation_share,
        patience=patience,
        weights=_weights(weight or []),
        seed=seed,
    ).complete()
    names = list(dict.fromkeys(policy))
    if build_id and len(names) > 1:
        raise UsageError("--build names one build, and several policies have one each", hint="leave out --build")

    def read() -> tuple[list[TrainingSplit], Path, dict[str, Path]]:
        with opened(workspace, as_json=json, quiet=quiet) as session:
            builds = {name: session.build(name, build_id) for name in names}
            splits = read_training_splits(session.store, list(builds.values()))
            if push_to_hub:  # before hours of training, not after
                open_repository(push_to_hub)
            if teacher:
                with session.out.progress() as bar:
                    splits = [with_teacher(session.store, split, teacher, progress=bar) for split in splits]
            ids = {name: build.build_id for name, build in builds.items()}
            folder = out_dir or session.workspace.joint_model_folder(ids, kind)
            for one in ids.values():
                note_output(session.store, one, "model", folder)
            before = finished_runs(session.store, session.workspace.models) if len(names) > 1 else {}
        alone = {name: single for name in names if (single := newest_alone(before, name, kind))}
        return splits, folder, alone

    splits, folder, alone = from_first(read)
    if not is_first():
        train_model(splits, recipe, out=folder)
        return
    out = Output(as_json=json, quiet=quiet)  # the database is closed: training takes long, and others may want it
    out.note(_listed(recipe.settings()))
    out.note(f"fixed: {_listed(fixed(recipe))}")
    elsewhere = relative(folder) if out_dir or len(names) > 1 else ""
    address, refused = None, None
    with out.progress() as bar:
        result = train_model(splits, recipe, out=folder, progress=bar)
        try:
            address = push_model(folder, push_to_hub, progress=bar) if push_to_hub else None
        except ProviderError as error:
            model = _options_of_model(kind, build_id, elsewhere)
            push = f"uncited push-model {push_to_hub} --policy {shlex.quote(names[0])}{model}"
            refused = ProviderError(f"trained, but not published: {error.message}", hint=push)
    if not out.json({"model": result.model, "is_new": result.is_new, "run": result.run, "address": address}):
        _print_run(out, result, address)
        beside = {name: relative(single) for name, single in alone.items()}
        out.next(*_evaluations(names, kind, build_id, elsewhere, beside))
    if refused:
        raise refused


def _print_run(out: "Output", result: "TrainResult", address: str | None) -> None:
    from printing import relative

    done = "trained" if result.is_new else "was trained before, with the same settings"
    took = f"{result.run['steps']} steps, {result.run['seconds']:.0f} s, in {result.run['precision']}"
    out.line(f"{relative(result.model)}: {done}; {took}")
    out.line(_validation_in_words(result.run))
    if any(prompts := result.run.get("prompts", {}).values()):
        out.line(f"before each query and each chunk stands {' and '.join(map(repr, prompts))}")
    if address:
        out.line(f"{address}: uploaded, with its model card")


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _evaluations(
    policies: Sequence[str], kind: str, build_id: str | None, elsewhere: str, beside: Mapping[str, str]
) -> list[str]:
    """Return the commands that evaluate what was trained.

    `elsewhere` is its folder, if not the usual one, and `beside` the folder of a model of one policy alone, by policy.
    """
    model = _options_of_model(kind, build_id, elsewhere)
    others = {policy: f" --with {shlex.quote(folder)}" for policy, folder in beside.items()}
    return [f"uncited evaluate --policy {shlex.quote(policy)}{model}{others.get(policy, '')}" for policy in policies]


def _options_of_model(kind: str, build_id: str | None, elsewhere: str) -> str:
    """Write the options that lead to a model from its policy; `elsewhere` is its folder, if not the usual one."""
    of_kind = "" if kind == "bi-encoder" else f" --kind {kind}"
    model = f" --model {shlex.quote(elsewhere)}" if elsewhere else ""
    build = f" --build {build_id}" if build_id else ""
    return f"{of_kind}{model}{build}"


def _validation_in_words(run: Mapping[str, Any]) -> str:
    told = run.get("validation") or {"why_not": "a run of an earlier version"}
    if told["why_not"]:
        return f"no validation: {told['why_not']}"
    by = "" if told["metric"] == "nDCG@10" else " by their loss, as they are few"
    return (
        f"on {told['queries']} queries held back, nDCG@10 went from {told['base_ndcg']:.3f} to {told['ndcg']:.3f};"
        f" the weights of step {told['kept_step']} are kept, chosen{by or ' by it'}"
    )


def _weights(given: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Read `NAME=2`, any number of times."""
    try:
        return tuple((name, float(weight)) for name, _, weight in (each.rpartition("=") for each in given))
    except ValueError as error:
        raise UsageError(f"--weight {' '.join(given)}: a name and a number, such as synthetic=0.5") from error


def _lengths(given: str) -> tuple[int, ...]:
    """Read `256,128,64`."""
    try:
        return tuple(int(length) for length in given.split(",")) if given else ()
    except ValueError as error:
        raise UsageError(f"--matryoshka {given}: lengths are whole numbers, such as 256,128,64") from error

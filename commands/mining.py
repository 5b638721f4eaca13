"""From logs and corpus to candidates: mine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from mining.candidates import MineResult
    from mining.hard_negatives import MinedNegatives
    from printing import Output
    from store.policies import Policy
    from store.workspace import MineSettings

_ALWAYS = {
    "source": "source",
    "proposed": "candidate",
    "pairs": "pairs",
    "anchors": "queries",
    "duplicates": "repeat a positive",
}
_WHERE_THERE_ARE_ANY = {"by_embedding": "of them by embedding", "too_close": "too close to a positive"}


def mine(
    policy: PolicyOption,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="SOURCE=N",
            help="Besides the log: N negatives for each query from bm25, dense, other-kind or random. Repeatable."
            " Default: what uncited.toml says.",
        ),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Chunks that no log retrieved, to look among too: JSON Lines, plain or gzip.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="SentenceTransformer that embeds: folder or name.")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws other negatives, where chance draws.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put candidate positives and negatives forward from the log, and negatives from the whole corpus if asked to."""
    from mining.candidates import mine as mine_log
    from mining.hard_negatives import mine_negatives
    from mining.whole_corpus import add_corpus
    from store.candidates import candidate_counts

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        chosen = session.policy(policy)
        settings = _settings(session.workspace.settings.mine, sources, model, seed)
        added = add_corpus(session.store, corpus, progress=bar) if corpus else 0
        log = mine_log(session.store, chosen, settings, progress=bar)
        mined = mine_negatives(session.store, chosen, settings, progress=bar) if settings.per_query else None
        counts = candidate_counts(session.store, chosen.name)
        if session.out.json(
            {
                "sources": counts,
                "interactions": log.interactions,
                "without_positive": log.without_positive,
                "shared": log.shared,
                "new": log.new,
                "removed": log.removed,
                "corpus_chunks_new": added,
                "mined": mined,
            }
        ):
            return
        _print_log(session.out, chosen, counts, log)
        if corpus:
            session.out.line(f"{added} chunks of {corpus} are new")
        if mined:
            _print_mined(session.out, mined)
        session.out.note("Chunks that repeat a positive never become negatives; nobody needs to look at them.")
        session.out.next(f"uncited judge --policy {policy}", f"uncited review push --policy {policy}")


def _settings(given: "MineSettings", sources: list[str] | None, model: str | None, seed: int | None) -> "MineSettings":
    """Put what the command line says in the place of what the settings file says.

    Raises:
        UsageError: an option says what cannot be.
    """
    from pydantic import ValidationError

    from store.errors import UsageError
    from store.workspace import MineSettings

    said: dict[str, object] = {"model": model, "seed": seed}
    if sources is not None:
        pairs = [word.partition("=") for word in sources]
        said["per_query"] = {source: number for source, _, number in pairs}
    changes = {name: value for name, value in said.items() if value is not None}
    try:
        return MineSettings.model_validate(given.model_dump() | changes)
    except ValidationError as error:
        wrong = error.errors()[0]
        words = " ".join(f"--from {word}" for word in sources or ())
        raise UsageError(f"{words}: {wrong['msg']}", hint="--from bm25=4 --from dense=4 --from random=2") from error


def _print_log(out: "Output", policy: "Policy", counts: "list[dict[str, object]]", log: "MineResult") -> None:
    shown = _ALWAYS | {key: name for key, name in _WHERE_THERE_ARE_ANY.items() if any(c[key] for c in counts)}
    rows = [[count[key] for key in shown] for count in counts]
    out.table(f"Candidates under {policy.name}", list(shown.values()), rows)
    out.line(
        f"{log.interactions} interactions, {log.without_positive} without a positive signal;"
        f" {log.new} candidates new, {log.removed} withdrawn"
    )
    if log.interactions and log.without_positive == log.interactions:
        taken = ", ".join(signal for signal, label in policy.signals.items() if policy.role(label) == "positive")
        out.line(
            f"No chunk has a signal that {policy.name} takes for a positive label ({taken or 'it names none'}), so"
            " only a judge or people will find positives; the policy's file names signals under `signals`"
        )
    if log.shared:
        title = "Chunks that several answers to one query had before them"
        out.table(title, ("answers", "taken up by", "pairs"), log.shared)


def _print_mined(out: "Output", mined: "MinedNegatives") -> None:
    if not mined.queries:
        out.line("No query has a candidate positive, so no negatives were looked for in the corpus")
        return
    out.line(f"Beyond the log, for {mined.queries} queries among {mined.chunks} chunks:")
    for source in mined.sources:
        parts = [f"{source.negatives} negatives", f"{source.new} candidates new", f"{source.withdrawn} withdrawn"]
        if source.too_close:
            parts.append(f"{source.too_close} too close to a positive, for the judge to look at")
        if source.kept:
            parts.append(f"{source.kept} found no more but kept, since they have been judged or reviewed")
        if source.short:
            parts.append(f"{source.short} queries got fewer than {source.per_query}")
        out.line(f"  {source.source}: {'; '.join(parts)}")

"""The parts of the page about the outcome: metrics, what moved, what more labels would buy, where it fails."""

from collections.abc import Mapping, Sequence

from train.answers.chain import BASE
from train.evaluation import Ranking, ShownMove
from train.report.contents import Report
from train.report.html import Html, joined, tag
from train.report.look import Look
from train.report.outcome import headline_metric
from train.report.sections import card, command, cut, missing, to_run
from train.report.wording import in_words, interval, number, percent, short_model, signed

_MOVES = 4  # that are shown unfolded


def metrics(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Compare the tuned model with its base, and with whatever else was evaluated."""
    evaluation, base = report.evaluation, report.base
    if evaluation is None:
        return missing("This run was not evaluated. ", command(to_run(report, "evaluate")))
    if base is None:
        return missing("The model was compared with no other.")
    parts: list[Html] = [tag("p", warning, class_="warning") for warning in evaluation.warnings]
    parts += [
        drawn["metrics"],
        tag(
            "p",
            "For each test query, the order in which a model puts the chunks that have a label. An interval that spans"
            " zero is no claim, whatever its middle says.",
        ),
        *_compared(evaluation.labelled, drawn["labelled"]),
        tag("h3", "Against all that was compared"),
        drawn["systems"],
        drawn["systems-in-use"],
        tag("h3", f"Searching {evaluation.pool:,} chunks"),
        tag(
            "p",
            "The ranking in use. Chunks that nobody labelled count as not relevant, so that a better model may look"
            f" worse than it is. Of the first ten, {_judged(evaluation.collection)} have a label.",
        ),
        *_compared(evaluation.collection, drawn["collection"]),
    ]
    if "collection-at-most" in drawn:
        title = tag("summary", "At most, were every chunk without a label relevant")
        parts.append(tag("details", title, drawn["collection-at-most"]))
    if evaluation.synthetic:
        parts += [
            tag("h3", "Questions that a model wrote"),
            tag("p", "They were kept because retrieval finds their chunk, so they flatter it."),
            *_compared(evaluation.synthetic, drawn["synthetic"]),
        ]
    if "slices" in drawn:
        parts += [tag("h3", f"Part by part, {headline_metric(evaluation).name}"), drawn["slices"]]
    if "seeds" in drawn:
        parts += [tag("h3", "Runs that differ in their seed alone"), drawn["seeds"]]
    share = f"{percent(evaluation.human_share)} of the {evaluation.labels:,} test labels are people's."
    left_out = f" {evaluation.left_out:,} test queries without a positive are left out." if evaluation.left_out else ""
    return joined([*parts, tag("p", share + left_out)])


def _compared(ranking: Ranking, table: Html) -> tuple[Html, Html]:
    return table, tag("p", f"{ranking.queries:,} queries in {ranking.groups:,} independent groups.")


def _judged(ranking: Ranking) -> str:
    return ", ".join(f"{percent(share)} ({name})" for name, share in ranking.judged.items() if share is not None)


def answers(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Compare the answers that a language model gives from what base and tuned model retrieve."""
    found = report.answers
    if found is None:
        return missing(
            "Whether better retrieval leads to better answers was not measured. ",
            command(to_run(report, "answers")),
        )
    base = short_model(found.models[BASE])
    chunks = "best chunk" if found.k == 1 else f"best {found.k} chunks"
    setting = (
        f"{found.llm} answered {found.queries:,} logged test queries twice, with the same prompt: from the {chunks}"
        f" that {base} retrieves, and that the tuned model retrieves. Ragas {found.ragas_version} then had it examine"
        " its answers. It may like them, so look at the differences and not at the values."
    )
    doubts = (
        f"For {found.with_reference:,} of the queries an answer was logged, which is the reference. It was written from"
        " what the retriever of that day found: other, better chunks are marked down against it."
    )
    if found.same_chunks:
        doubts += f" For {found.same_chunks:,} queries both models retrieve the same, so that nothing can differ."
    parts = [
        tag("p", setting),
        drawn.get("answers") or missing("For no query do both have a value."),
        drawn["answer-metrics"],
        tag("details", tag("summary", "What each metric asks"), drawn["answer-questions"]),
        tag("p", doubts),
    ]
    if found.failures:
        kinds = ", ".join(f"{in_words(kind)} {count:,}" for kind, count in sorted(found.failures.items()))
        parts.append(missing(f"Values are missing where there was no usable reply: {kinds}."))
    return joined(parts)


def shift(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Tell where relevant chunks stood before and after."""
    if report.evaluation is None or report.evaluation.rank_shift is None:
        return missing("Where relevant chunks stood before and after is known once the run has been evaluated.")
    found = report.evaluation.rank_shift
    parts: list[Html] = []
    if found.median_before is not None and found.median_after is not None:
        parts.append(
            tag("p", f"The median rank of a relevant chunk was {found.median_before:g} and is {found.median_after:g}.")
        )
    parts.append(drawn.get("rank-shift") or missing("No relevant chunk was retrieved by either model."))
    if "rank-shift-within" in drawn:
        parts.append(drawn["rank-shift-within"])
    for title, moves in (("The largest gains", found.gains), ("The largest losses", found.losses)):
        parts += [tag("h3", title), *_moves(moves)]
    return joined(parts)


def _moves(moves: Sequence[ShownMove]) -> list[Html]:
    if not moves:
        return [missing("There are none.")]
    cards = [card(m.query, m.chunk, tag("b", f"{_rank(m.before)} → {_rank(m.after)}")) for m in moves]
    shown = [tag("div", *cards[:_MOVES], class_="cards")]
    if len(cards) > _MOVES:
        rest = tag("div", *cards[_MOVES:], class_="cards")
        shown.append(tag("details", tag("summary", f"{len(cards) - _MOVES} more"), rest))
    return shown


def _rank(rank: int | None) -> str:
    return "not retrieved" if rank is None else f"rank {rank}"


def embeddings(report: Report, look: Look | str, drawn: Mapping[str, Html]) -> Html:
    """Show what training did to similarities."""
    parts: list[Html] = []
    if isinstance(look, str):
        parts.append(missing(look))
    else:
        parts.append(drawn["similarity"])
        of_kind = "The models do not put each text into one vector of the same length, so there is no map of them."
        parts.append(drawn.get("map") or missing(of_kind))
    if "matryoshka" in drawn:
        parts.append(drawn["matryoshka"])
    elif report.run["settings"].get("matryoshka"):
        parts.append(missing("It was trained for shorter embeddings too; an evaluation says what they are worth."))
    return joined(parts)


def curve(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Show the learning curve, and what the fit says of more labels."""
    found = report.curve
    if found is None:
        return missing(
            "No learning curve was measured for this build. ",
            command(f"uncited learning-curve --policy {report.policy.name} --build {report.build.build_id}"),
        )
    parts = [drawn["learning-curve"]]
    first = found.points[0]
    parts.append(
        tag(
            "p",
            f"All {found.points[-1].examples:,} triplets against {first.examples:,}: {found.metric}"
            f" {signed(found.learnt.value)}"
            f" ({_within(found.learnt.low, found.learnt.high)}), {found.learnt.verdict}.",
        )
    )
    for ahead in found.forecasts:
        parts.append(
            tag(
                "p",
                f"With {ahead.examples:,} triplets the fit expects {number(ahead.value.value)},"
                f" {signed(ahead.gain.value)}"
                f" ({_within(ahead.gain.low, ahead.gain.high)}) against all there are: {ahead.gain.verdict}.",
            )
        )
    if found.law is None:
        parts.append(missing(f"No law is fitted, so nothing is said of more labels: {found.no_law}."))
    return joined(parts)


def _within(low: float | None, high: float | None) -> str:
    return interval(low, high) or "no interval"


def ablation(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Show what differently chosen negatives are worth."""
    if report.ablation is None:
        return missing(
            "What these labels are worth against uncited chunks taken as negatives unseen was not measured for this"
            " build. ",
            command(f"uncited ablation --policy {report.policy.name} --build {report.build.build_id}"),
        )
    said = "Relevant: so many of the negatives that have a label are false ones, and teach the model the wrong thing."
    return joined(
        [
            drawn["ablation"],
            drawn["ablation-arms"],
            tag("details", tag("summary", "How each chooses its negatives"), drawn["ablation-choices"]),
            tag("p", f"{said} The intervals hold all together."),
        ]
    )


def training(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Show the curves of training."""
    run = report.run
    settings = run["settings"]
    said = f"{run.get('steps', 0):,} steps of {settings.get('batch_size', '?')} rows with the loss"
    said += f" {settings.get('loss', '?')}, learning rate {settings.get('learning_rate', 0):g},"
    said += f" seed {settings.get('seed', 0)}."
    why_not = (run.get("validation") or {}).get("why_not")
    held = [missing(f"Nothing was held back for validation: {why_not}.")] if why_not else []
    return joined([tag("p", said), *held, drawn.get("training") or missing("The record holds no losses.")])


def worst(report: Report) -> Html:
    """Show the queries on which the tuned model does worst, with texts."""
    if report.evaluation is None:
        return missing("This is known once the run has been evaluated.")
    if not report.worst:
        return missing("On no test query does the tuned model put a chunk that is not relevant before one that is.")
    cards = []
    for query in report.worst:
        texts = [
            joined(
                [
                    tag("p", cut(chunk.text), class_="text", dir="auto"),
                    tag("p", "relevant, ", tag("b", f"{_rank(chunk.before)} → {_rank(chunk.after)}"), class_="about"),
                ]
            )
            for chunk in query.relevant
        ]
        about = tag("p", f"nDCG@10 {number(query.before)} → {number(query.after)}", class_="about")
        cards.append(
            tag("article", tag("p", cut(query.query), class_="query", dir="auto"), *texts, about, class_="card")
        )
    said = "The test queries that the tuned model does worst on, by the order in which it puts labelled chunks."
    return joined([tag("p", said), tag("div", *cards, class_="cards", id="cards-worst-queries")])

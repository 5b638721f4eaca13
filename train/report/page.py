"""The page: what a report says, in the order in which somebody asks."""

from collections.abc import Sequence
from importlib.resources import files

from train.report.contents import Agreed, Report
from train.report.drawing import Figure, shown
from train.report.figures import figures_of
from train.report.html import Html, joined, table, tag
from train.report.look import Look
from train.report.numbers import numbers
from train.report.outcome import headline_metric, outcome
from train.report.results import ablation, answers, curve, embeddings, metrics, shift, training, worst
from train.report.sections import command, costs, data, labels, question, record, to_run
from train.report.tables import Table, tables_of
from train.report.wording import dollars, minutes, number, percent, short_model

# The page asks nothing of anybody and runs nothing; a text that became markup by mistake could not either.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render(
    report: Report, look: Look | str, agreement: Sequence[Agreed], *, written: str
) -> tuple[Html, list[Figure], list[Table]]:
    """Return the page as one HTML document, its figures, and its tables with one of the numbers in sentences.

    Args:
        report: what it says.
        look: similarities before and after; in words, why there are none.
        agreement: of reviewers with each other.
        written: the day, in words.
    """
    told = outcome(report)
    figures, tables = figures_of(report, look), tables_of(report, agreement)
    drawn = {one.name: _figure(one) for one in figures}
    drawn |= {one.name: table(one.columns, one.rows, name=one.name) for one in tables}
    sections = (
        ("question", "The question", question(report, drawn)),
        ("data", "Where the data came from", data(report, drawn)),
        ("labels", "Can the labels be trusted?", labels(report, drawn)),
        ("metrics", "Did training help?", metrics(report, drawn)),
        ("answers", "Are answers better?", answers(report, drawn)),
        ("ranks", "What moved", shift(report, drawn)),
        ("similarity", "What the model learned", embeddings(report, look, drawn)),
        ("more", "Would more labels help?", curve(report, drawn)),
        ("worth", "What the labels are worth", ablation(report, drawn)),
        ("training", "How it was trained", training(report, drawn)),
        ("worst", "Where it still fails", worst(report)),
        ("cost", "What it cost", costs(drawn)),
        ("record", "The record", record(report, drawn)),
    )
    body = [
        tag("section", tag("h2", title, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title")
        for name, title, content in sections
    ]
    links = tag("nav", *(tag("a", title, href=f"#{name}") for name, title, _ in sections), aria_label="Sections")
    top = tag(
        "header",
        tag("p", f"{_name(report)} · {written}", class_="over"),
        tag("h1", tag("span", told.clear, class_=told.verdict), told.rest),
        tag("p", *_lead(report), class_="lead"),
        _tiles(report),
        links,
        class_="top",
    )
    foot = tag("footer", "Written by uncited. Texts from logs are shown as they are, letter by letter.")
    style = Html(files("train.report").joinpath("style.css").read_text(encoding="utf-8"))
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">'),
            tag("title", f"{_name(report)}: {told.clear}{told.rest}"),
            tag("style", style),
        ]
    )
    page = tag("html", tag("head", head), tag("body", top, tag("main", *body), foot), lang="en")
    return Html(f"<!doctype html>\n{page}\n"), figures, [*tables, numbers(report, look)]


def _name(report: Report) -> str:
    return report.policy.title or report.policy.name


def _lead(report: Report) -> Sequence[object]:
    kind, base = report.run["settings"].get("kind", "bi-encoder"), short_model(report.base_model)
    start = f"A {kind} made of {base}, fine-tuned on {report.counts['triplets_train']:,} triplets"
    if report.companions:
        start += f", and on those of {', '.join(other.policy for other in report.companions)},"
    evaluation = report.evaluation
    if evaluation is None:
        return (
            start.rstrip(","),
            ". Evaluate it with ",
            command(to_run(report, "evaluate")),
            ".",
        )
    ranking = evaluation.labelled
    against = next((system.model for system in evaluation.systems if system.name == report.base), report.base_model)
    other = "that model" if against == report.base_model else short_model(against)
    return (
        f"{start} and compared with {other} on {ranking.queries:,} test queries in {ranking.groups:,} independent"
        f" groups, none of which it was trained on. In brackets: 95 % intervals, paired, by groups of queries.",
    )


def _tiles(report: Report) -> Html:
    tiles: list[tuple[str, str, str]] = []
    evaluation, base = report.evaluation, report.base
    if evaluation and base:
        metric = headline_metric(evaluation)
        before, after = metric.values[base], metric.values[evaluation.subject]
        if before is not None and after is not None:
            tiles.append((metric.name, f"{number(before)} → {number(after)}", "before and after, labelled chunks"))
    share = report.uncited
    if share.trials:
        tiles.append(
            (
                "uncited, yet relevant",
                percent(share.value),
                f"{share.successes:,} of {share.trials:,} reviewed; {percent(share.low)} to {percent(share.high)}",
            )
        )
    people = report.counts["human_positives"] + report.counts["human_negatives"]
    rest = sum(report.counts[f"{who}_{role}"] for who in ("judge", "propagated") for role in ("positives", "negatives"))
    tiles.append(("labels that people gave", f"{people:,}", f"{rest:,} more are a judge's or propagated"))
    seconds = report.run.get("seconds")
    cost = (
        "no judge was asked"
        if not report.bill.calls
        else f"judge: {dollars(report.bill.cost_usd, report.bill.unpriced)}"
    )
    tiles.append(("training", "–" if seconds is None else minutes(float(seconds)), cost))
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value, class_="value"), tag("dd", note, class_="note"))
            for name, value, note in tiles
        ),
        class_="tiles",
    )


def _figure(figure: Figure) -> Html:
    parts = [tag("h3", figure.title), tag("figcaption", figure.says), shown(figure)]
    if 0 < len(figure.rows) <= 30:
        parts.append(tag("details", tag("summary", "The numbers"), table(figure.columns, figure.rows)))
    return tag("figure", *parts, id=f"figure-{figure.name}")

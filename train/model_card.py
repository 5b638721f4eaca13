"""The model card of a run: what it was made of and what it is worth, without a single text that it was trained on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from store.errors import MissingError
from train.evaluation import Evaluation
from train.evaluation_file import EVALUATION_FILE, is_of_run, readable_evaluation
from train.experiments import write_whole
from train.recipe import Kind
from train.runs import read_run

CARD = "README.md"

_PIPELINES: Mapping[Kind, str] = {
    "bi-encoder": "sentence-similarity",
    "reranker": "text-ranking",
    "multi-vector": "sentence-similarity",
    "sparse": "feature-extraction",
}
_USE: Mapping[Kind, str] = {
    "bi-encoder": """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER_OR_REPOSITORY")
scores = model.similarity(model.encode_query(queries), model.encode_document(chunks))""",
    "reranker": """from sentence_transformers import CrossEncoder

scores = CrossEncoder("FOLDER_OR_REPOSITORY").predict([(query, chunk) for chunk in chunks])""",
    "multi-vector": """from sentence_transformers import MultiVectorEncoder

model = MultiVectorEncoder("FOLDER_OR_REPOSITORY")
scores = model.similarity(model.encode_query(queries), model.encode_document(chunks))""",
    "sparse": """from sentence_transformers import SparseEncoder

model = SparseEncoder("FOLDER_OR_REPOSITORY")
scores = model.similarity(model.encode_query(queries), model.encode_document(chunks))""",
}
_TOLD = ("kind", "base_model", "base_model_is", "rows_sha256")  # settings that the card says elsewhere, or not at all


def write_model_card(folder: Path) -> Path:
    """Write the model card of a run from its record, with its results where it has been evaluated; return the file.

    The question of each policy and counts are in it, and no query, chunk or name of a person. What somebody else wrote
    into the file is gone then.

    Raises:
        MissingError: the folder holds no run.
        UsageError: the card cannot be written.
    """
    record = read_run(folder)
    if record is None:
        raise MissingError(f"{folder} holds no run: there is no run.json that can be read", hint="uncited runs")
    evaluation = readable_evaluation(folder / EVALUATION_FILE)
    write_whole(folder / CARD, model_card(record, evaluation if evaluation and is_of_run(evaluation, record) else None))
    return folder / CARD


def model_card(record: Mapping[str, Any], evaluation: Evaluation | None = None) -> str:
    """Return the text of a model card; see `write_model_card`."""
    settings, kind = record["settings"], record["settings"]["kind"]
    builds: Sequence[Mapping[str, Any]] = [build for build in record.get("builds", ()) if build]
    names = ", ".join(build["policy"]["name"] for build in builds) or record["build_id"]
    parts = [
        _front_matter(settings),
        f"# A {kind} for {names}\n\nFine-tuned from `{settings['base_model_is']}` with"
        " [sentence-transformers](https://sbert.net) on labels that `uncited` built from the logs of a retrieval.",
        f"## Use\n\n```python\n{_USE[kind]}\n```",
        "## Trained on",
        *map(_provenance, builds),
        _training(record),
        _results(evaluation) if evaluation else "## Results\n\nNot evaluated yet: `uncited evaluate`.",
        "## Limits\n\nThe model knows what was relevant in the logs of one application, under the question above."
        " Elsewhere its base model may be the better one. The training texts are not published with it.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(settings: Mapping[str, Any]) -> str:
    import yaml

    base = str(settings["base_model"])
    told: dict[str, object] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": _PIPELINES[settings["kind"]],
        "tags": ["sentence-transformers", settings["kind"], "uncited"],
    }
    if base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).exists():
        told["base_model"] = base  # a name on the hub: folders are named by no one else
    return f"---\n{yaml.safe_dump(told, sort_keys=False)}---"


def _provenance(build: Mapping[str, Any]) -> str:
    policy = build["policy"]
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in build["labels"]:
        counts[row["source"], row["role"]][row["split"]] += row["pairs"]
    rows = [
        (source, role, of.get("train", 0), of.get("test", 0))
        for (source, role), of in sorted(counts.items())
        if role != "excluded"
    ]
    said = [
        f"### {policy['name']}, version {policy['version']}",
        f"> {' '.join(policy['question'].split())}",
        f"Build `{build['build_id']}`; policy `{policy['labelling_fingerprint']}`. Reviewed by {build['reviewers']}"
        f" {'person' if build['reviewers'] == 1 else 'people'}.",
        _table(("labelled by", "role", "train", "held back for the test"), rows),
        *(f"Labels of a judge are those of `{judge['model']}`: {judge['labels']:,}." for judge in build["judges"]),
        *map(_certificate, build["certificates"]),
    ]
    if build["uncertified"]:
        said.append("**No certificate bounds the errors of the judge's labels.**")
    if build["synthetic_queries"]:
        said.append(f"{build['synthetic_queries']:,} of the queries were written by a model.")
    return "\n\n".join(said)


def _certificate(stated: Mapping[str, Any]) -> str:
    return (
        f"Certificate `{stated['certificate_id']}`: of the {stated['population']:,} labels of the judge in its group"
        f" ({stated['group']}) that nobody reviewed, at most {100 * stated['bound_unreviewed']:.1f} % are wrong, with"
        f" {100 * stated['confidence']:.0f} % confidence ({stated['reviews']} blind reviews)."
    )


def _training(record: Mapping[str, Any]) -> str:
    given = record["settings"]
    settings = [  # a model that is told by what it is is not told by its path too
        (name.replace("_", " "), value)
        for name, value in given.items()
        if name not in _TOLD and f"{name}_is" not in given
    ]
    settings += [(f"{name} prompt", repr(text)) for name, text in record.get("prompts", {}).items() if text]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    validation = record.get("validation") or {"why_not": "not recorded"}
    told = (
        f"No queries were held back to choose the weights ({validation['why_not']})."
        if validation["why_not"]
        else f"On {validation['queries']} train queries held back, nDCG@10 of the labelled chunks went from"
        f" {validation['base_ndcg']:.3f} to {validation['ndcg']:.3f}; the weights of step {validation['kept_step']} of"
        f" {record['steps']} were kept."
    )
    return "\n\n".join(
        (
            "## Training",
            _table(("setting", "value"), settings),
            told,
            f"{record['steps']} steps in {record['seconds']:,.0f} s on {record['device']}, in {record['precision']};"
            f" {versions}. Model hash: `{record.get('model_sha256', 'not recorded')}`.",
        )
    )


def _results(evaluation: Evaluation) -> str:
    """Say what the evaluated model reached, against the base where it is among the systems, else against the first."""
    names = [system.name for system in evaluation.systems if system.name != evaluation.subject]
    against = "base" if "base" in names else names[0] if names else None
    rows = []
    for metric in evaluation.labelled.metrics:
        row: list[object] = [metric.name, _number(metric.values.get(evaluation.subject))]
        if against is not None:
            found = metric.differences[against]
            row += [
                _number(metric.values.get(against)),
                "" if found.low is None else f"{found.low:+.3f} to {found.high:+.3f}",
                found.verdict,
            ]
        rows.append(row)
    compared = (against, "95 % interval of the difference", "verdict") if against is not None else ()
    ranking = evaluation.labelled
    return "\n\n".join(
        (
            "## Results",
            f"The labelled chunks of {ranking.queries} test queries in {ranking.groups} groups, put in order;"
            f" {100 * evaluation.human_share:.1f} % of the test labels are people's.",
            _table(("metric", "this model", *compared), rows),
            *evaluation.warnings,
        )
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)

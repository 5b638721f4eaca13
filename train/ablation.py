"""What labels are worth: models trained on negatives that were chosen in different ways, compared on one test set."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.encoders import model_name
from store.errors import MissingError, UsageError
from store.ids import content_id
from store.progress import Progress, silent
from train.arms import (
    CERTIFIED,
    MARGIN,
    NAIVE,
    PROMOTED,
    RANDOM,
    WHAT,
    Material,
    Triplet,
    arm_triplets,
    margin_filtered,
    split_of_arm,
)
from train.crossed import Crossed
from train.experiments import Estimate, Gain, MeasuredOn, kept
from train.held_out import HeldOut
from train.kinds import load
from train.models import quiet
from train.prompts import known_prompts
from train.ranking import labelled_scores
from train.recipe import Recipe
from train.rows import TrainingSplit
from train.trials import Counted, Laboratory, Trial, checked, laboratory_on_test

if TYPE_CHECKING:
    import numpy as np

_ENOUGH = 0.5  # of the triplets that the others have: an arm with fewer would make all arms small


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to choose what is trained on, and how the models fared that were trained on it.

    `available` counts the triplets that the way yields, of which as many are taken as every arm can give; `queries`
    counts the train queries of those. Of their negatives `known` have a label in the build, and `relevant` of these are
    relevant all the same: false negatives. `unavailable` says in words why no model was trained; it is empty where one
    was, and then `value` is the metric and `against_naive` the difference from the arm `naive` (None for that arm).
    """

    name: str
    what: str
    available: int
    queries: int
    known: int
    relevant: int
    unavailable: str
    value: Estimate | None
    by_seed: tuple[float, ...]
    against_naive: Gain | None


@dataclass(frozen=True, slots=True)
class Ablation:
    """The arms, each trained on `triplets` triplets with the same recipe and seeds; `base` is the model before.

    The intervals of all differences from `naive` hold together: each is as much wider as their number asks
    (Bonferroni), so that one false claim among them is made in at most 5 % of all ablations.
    """

    build_id: str
    settings: Mapping[str, object]
    metric: str
    seeds: tuple[int, ...]
    triplets: int
    test: MeasuredOn
    base: Estimate
    arms: tuple[Arm, ...]


def ablation(
    material: Material,
    split: TrainingSplit,
    test: HeldOut,
    recipe: Recipe,
    *,
    folder: Path,
    triplets: int | None = None,
    seeds: int = 3,
    metric: str = "nDCG@10",
    progress: Progress = silent,
) -> Ablation:
    """Train on every arm with every seed, and compare each arm with naive negatives on what people labelled.

    Measured is the order of each test query's chunks that a person labelled; what a judge labelled would favour the
    arms that a judge helped to choose. Each model is remembered in `folder`: a second call trains nothing.

    Args:
        material: what the arms are made of.
        split: the train split of the same build, for its record.
        test: what is held out.
        recipe: how to train; its seed is the first.
        folder: of the experiments.
        triplets: in each arm; None: as many as the smallest arm has.
        seeds: how many.
        metric: one of `train.metrics.METRICS`.
        progress: told of every model.

    Raises:
        UsageError: the number of triplets or seeds, the metric or the recipe makes no sense.
        MissingError: there are no naive or no certified triplets, or no test query that could tell.
    """
    import numpy as np

    recipe, numbers = checked(recipe, metric, seeds)
    place = laboratory_on_test(labelled_by_people(test), folder)
    found = _arms(material, place, recipe, progress)
    count = _equal_number(material, found, triplets)
    wanted = [name for name, of_arm in found.items() if len(of_arm) >= count]
    bar = Counted(progress, len(wanted) * len(numbers) + 1)
    with bar.model("before training"):
        base = place.untrained(recipe, bar)
    trials: dict[str, list[Trial]] = {}
    for name in wanted:
        arm = split_of_arm(material, found[name][:count], split)
        for number in numbers:
            with bar.model(f"{name}, seed {number}"):
                trials.setdefault(name, []).append(place.trained(arm, dataclasses.replace(recipe, seed=number), bar))
    before = np.repeat(place.table([base], metric), len(numbers), axis=1)
    values = np.stack([*(place.table(trials[name], metric) for name in wanted), before], axis=2)
    crossed = Crossed(values, place.groups)
    described = (_described(name, material, of_arm, count) for name, of_arm in found.items())
    arms = tuple(_with_values(arm, wanted, values, crossed) if arm.name in wanted else arm for arm in described)
    settings = {name: value for name, value in recipe.settings().items() if name != "seed"}
    base_value = crossed.estimate(len(wanted))
    return Ablation(material.build_id, settings, metric, numbers, count, place.measured_on, base_value, arms)


def labelled_by_people(test: HeldOut) -> HeldOut:
    """Leave what no person labelled out of a test set.

    Raises:
        MissingError: nothing is left.
    """
    qrels: dict[str, dict[str, int]] = {}
    for query, labels in test.qrels.items():
        for chunk, relevance in labels.items():
            if test.sources[query][chunk] == "human":
                qrels.setdefault(query, {})[chunk] = relevance
    if not qrels:
        raise MissingError(
            f"no label of the test split of {test.build_id} is a person's, so nothing can be told from it",
            hint=f"uncited review push --policy {test.policy}",
        )
    return test._replace(qrels=qrels)


def _arms(material: Material, place: Laboratory, recipe: Recipe, progress: Progress) -> dict[str, list[Triplet]]:
    """Return the triplets of each arm, all there are."""
    sources = material.negatives
    scored = _scored(material, place, recipe, progress)
    promoted = material.positives if material.positives != material.cited else {}
    chosen = {
        NAIVE: (material.cited, sources[NAIVE]),
        MARGIN: (material.cited, margin_filtered(material, scored)),
        CERTIFIED: (material.cited, sources[CERTIFIED]),
        PROMOTED: (promoted, sources[CERTIFIED]),
        RANDOM: (material.cited, sources[RANDOM]),
    }
    return {name: arm_triplets(*pair, material.a_positive) for name, pair in chosen.items()}


def _scored(
    material: Material, place: Laboratory, recipe: Recipe, progress: Progress
) -> Mapping[str, Mapping[str, float]]:
    """Return the base model's scores of the cited and uncited chunks of each train query."""
    pairs = {
        anchor: {**dict.fromkeys(chunks, 0), **dict.fromkeys(material.cited[anchor], 1)}
        for anchor, chunks in material.negatives[NAIVE].items()
        if anchor in material.cited
    }
    queries = {anchor: material.texts[anchor] for anchor in pairs}
    chunks = {chunk: material.texts[chunk] for labels in pairs.values() for chunk in labels}

    def score() -> Mapping[str, Mapping[str, float]]:
        if not pairs:
            return {}
        with quiet():
            model = load(recipe.kind, recipe.base_model)
            return labelled_scores(model, recipe.kind, queries, chunks, pairs, progress)

    base = (model_name(recipe.base_model), list(known_prompts(recipe.base_model)))
    name = content_id("scores", recipe.kind, *base, {a: sorted(c) for a, c in pairs.items()})
    return kept(place.folder / f"{name}.json", score)


def _equal_number(material: Material, found: Mapping[str, Sequence[Triplet]], wanted: int | None) -> int:
    """Return how many triplets every arm gets."""
    for name, advice in ((NAIVE, "mine"), (CERTIFIED, "build")):
        if not found[name]:
            raise MissingError(
                f"{material.build_id} gives no triplets for the arm {name!r} ({WHAT[name]}): the train queries need a"
                " cited chunk that is labelled positive, and negatives",
                hint=f"uncited {advice} --policy {material.policy}",
            )
    fewest = min(len(found[NAIVE]), len(found[CERTIFIED]))
    if wanted is not None:
        if not 1 <= wanted <= fewest:
            raise UsageError(f"--triplets {wanted}: naive and certified negatives give from 1 to {fewest:,} triplets")
        return wanted
    return min(len(triplets) for triplets in found.values() if len(triplets) >= _ENOUGH * fewest)


def _with_values(arm: Arm, wanted: Sequence[str], values: "np.ndarray", crossed: Crossed) -> Arm:
    """Add to an arm what its models reached; columns are the arms that are `wanted`, in order."""
    column, naive = wanted.index(arm.name), wanted.index(NAIVE)
    return dataclasses.replace(
        arm,
        value=crossed.estimate(column),
        by_seed=tuple(map(float, values[:, :, column].mean(axis=0))),
        against_naive=None if column == naive else crossed.gain(column, naive, questions=len(wanted) - 1),
    )


def _described(name: str, material: Material, triplets: Sequence[Triplet], count: int) -> Arm:
    """Return an arm without what its models reached."""
    unavailable = ""
    if not triplets:
        unavailable = "the build has no positives but the cited ones" if name == PROMOTED else "leaves no triplets"
    elif len(triplets) < count:
        unavailable = f"gives {len(triplets):,} triplets, and the others have {count:,}"
    used = triplets[:count]
    negatives = {(triplet.anchor_id, triplet.negative_id) for triplet in used}
    roles = [material.roles[pair] for pair in sorted(negatives) if pair in material.roles]
    queries = len({triplet.anchor_id for triplet in used})
    relevant = roles.count("positive")
    return Arm(name, WHAT[name], len(triplets), queries, len(roles), relevant, unavailable, None, (), None)

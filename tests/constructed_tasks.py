"""A task that a base model gets wrong and can learn, for controls of everything from the build to the verdict."""

from random import Random

from store.database import Store
from store.policies import add_policy
from tests.labelled_store import POLICY, log, review

_NAMED = (
    "coffee tea rain snow jazz opera chess football gardening cooking hiking swimming painting poetry mathematics"
    " history cats dogs trains bicycles mountains beaches cities forests museums theatre films novels comics puzzles"
    " bread cheese chocolate apples oranges soup salad pasta curry honey wine beer milk lemonade sailing skiing tennis"
    " golf boxing fishing dancing singing drawing sewing running yoga camping surfing physics chemistry politics"
    " fashion cartoons ballet circus rugby onions garlic olives mushrooms pizza sushi pancakes porridge"
)
THINGS = _NAMED.split()


def tastes(
    store: Store, pairs: int = len(THINGS) // 2, *, shuffled_by: int | None = None, relevant_uncited: bool = False
) -> None:
    """Log profiles under a policy by which the same taste is similar, and the opposite taste in the same words is not.

    A base model goes by words and has it backwards. Everything stands in one pair of things, which are liked and hated
    once each way round; such a pair of queries is one group. Of each query two chunks are labelled: the same taste in
    other words, which is cited, and the opposite taste. With `relevant_uncited` there is one more, not cited: the same
    taste in yet other words.

    Shuffled, one query of every pair, drawn by the seed, has its two labels the other way round. Then there is nothing
    to learn, and nothing to gain: whichever way a model leans, it wins on one query of a pair what it loses on the
    other. (With more chunks that would not hold: to mix the two kinds alone raises the mean reciprocal rank.)
    """
    add_policy(store, POLICY)
    rng = Random(shuffled_by)
    for one, other in zip(THINGS[:pairs], THINGS[len(THINGS) - pairs :], strict=True):
        turned = rng.randrange(2) if shuffled_by is not None else None
        for way, (good, bad) in enumerate([(one, other), (other, one)]):
            query = f"likes {good}, hates {bad}"
            relevant, irrelevant = f"cannot stand {bad} and is fond of {good}", f"likes {bad}, hates {good}"
            if turned == way:
                relevant, irrelevant = irrelevant, relevant
            further = [f"would never go near {bad} but adores {good}"] if relevant_uncited else []
            chunks = [irrelevant, relevant, *further]
            log(store, query, chunks, cited=[relevant], documents=dict.fromkeys(chunks, f"{one} and {other}"))
            review(store, query, {irrelevant: "no", relevant: "yes"} | dict.fromkeys(further, "yes"))

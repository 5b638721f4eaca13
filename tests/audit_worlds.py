"""Made-up judges and reviewers: worlds of pairs with planted errors, for the tests of certificates."""

import numpy as np

from store.audits import AuditedPair


class World:
    """Negatives of a judge, a given share of them wrong; the less sure the judge, the more often it is wrong, if its
    confidence is `telling`.

    The errors stand together in few queries: that is the worst that pairs of one query can do. Of them a reviewer
    `misses` a share, and `accuses` the judge wrongly of a share of its right labels; where two reviewers differ, an
    adjudicator finds the truth.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        queries: int = 30,
        of_each: int = 8,
        errors: float = 0.06,
        telling: float = 0.12,
        misses: float = 0.0,
        accuses: float = 0.0,
    ) -> None:
        self.rng = rng
        size = queries * of_each
        hardness = np.repeat(rng.random(queries), of_each) + 0.1 * rng.random(size)
        self.wrong = np.zeros(size, bool)
        self.wrong[np.argsort(-hardness)[: round(errors * size)]] = True
        self.confidence = np.clip(1 - rng.random(size) * 0.5 - telling * self.wrong, 0.5, 1.0)
        self.found = [np.where(self.wrong, rng.random(size) >= misses, rng.random(size) < accuses) for _ in range(2)]
        self.place = np.zeros(size)  # in the order of the draw; 0: not drawn
        self.reviewed = np.zeros(size, bool)
        self.blind = np.zeros(size, bool)

    @property
    def sampled(self) -> np.ndarray:
        return self.place > 0

    @property
    def settled(self) -> np.ndarray:
        """Where people would come to the label that the judge is wrong."""
        one, other = self.found
        return np.where(one == other, one, self.wrong)

    def draw(self, size: int) -> None:
        """Draw pairs, or so many more of them."""
        free = np.flatnonzero(~self.sampled)
        first = self.place.max() + 1
        self.place[self.rng.choice(free, min(size, len(free)), replace=False)] = first + np.arange(min(size, len(free)))

    def answer_audit(self, share: float) -> None:
        """People answer that share of the sample; the errors of the judge, being hard, they leave open."""
        open_pairs = np.flatnonzero(self.sampled & ~self.reviewed)
        order = np.argsort(self.wrong[open_pairs] + self.rng.random(len(open_pairs)) * 0.9)
        chosen = open_pairs[order[: round(share * len(open_pairs))]]
        self.reviewed[chosen] = self.blind[chosen] = True

    def answer_targeted(self, count: int) -> None:
        """People check those of the others of which the judge is surest: no sample could be less like the rest."""
        others = np.flatnonzero(~self.sampled & ~self.reviewed)
        self.reviewed[others[np.argsort(-self.confidence[others])[:count]]] = True

    def pairs(self) -> list[AuditedPair]:
        settled = self.settled
        return [
            AuditedPair(
                pair_id=f"pair_{i:04}",
                group="negatives",
                judge_id="judge",
                confidence=float(self.confidence[i]),
                stratum=0.0,
                sampled=bool(self.sampled[i]),
                reviewed=bool(self.reviewed[i]),
                blind=bool(self.blind[i]),
                role=("positive" if settled[i] else "negative") if self.reviewed[i] else None,
                place=float(self.place[i]),
            )
            for i in range(len(self.wrong))
        ]

    def true_share(self, threshold: float) -> float:
        """Share of errors among the labels that there are from a threshold on: not reviewed, or confirmed."""
        chosen = self._labels(threshold)
        return float(self.wrong[chosen].mean()) if chosen.any() else 0.0

    def settled_share(self) -> float:
        """Share of these labels that people would call wrong."""
        return float(self.settled[self._labels(0.0)].mean())

    def _labels(self, threshold: float) -> np.ndarray:
        labels: np.ndarray = (self.confidence >= threshold) & ~(self.reviewed & self.settled)
        return labels

    def differ(self) -> tuple[int, int]:
        """How many pairs two people answered blind, and on how many of them they differed."""
        one, other = self.found
        return int(self.blind.sum()), int((one != other)[self.blind].sum())

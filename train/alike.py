"""Which of many texts repeat one another, found without comparing each with each."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from store.text import NEAR_DUPLICATE, NEAR_QUERY, Shingles, normalised, overlap, query_trigrams, shingles


@dataclass(frozen=True, slots=True)
class Alike:
    """What repeats what among a set of texts.

    Texts that are the same once normalised share a representative, the smallest of their ids; `near` maps a
    representative to those of the texts that nearly repeat it.
    """

    representative: Mapping[str, str]
    near: Mapping[str, frozenset[str]]

    def of(self, text_id: str) -> frozenset[str]:
        """Return the representatives of all texts that equal or nearly repeat this one, its own included."""
        own = self.representative[text_id]
        return self.near.get(own, frozenset()) | {own}

    def any_alike(self, text_id: str, others: Iterable[str]) -> bool:
        """Tell whether a text equals or nearly repeats one of `others` (ids)."""
        like = self.of(text_id)
        return any(self.representative[other] in like for other in others)


def alike_chunks(texts: Mapping[str, str]) -> Alike:
    """Compare chunks, given by id, exactly as `store.text.similarity` does."""
    return _alike(texts, shingles, NEAR_DUPLICATE)


def alike_queries(texts: Mapping[str, str]) -> Alike:
    """Compare queries, given by id, by the Jaccard index of their character trigrams."""
    return _alike(texts, query_trigrams, NEAR_QUERY)


def queries_like_chunks(queries: Mapping[str, str], chunks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the (query id, chunk id) whose texts repeat each other as two queries would; chunk by chunk.

    A chunk that is more than twice as long as the longest query is not looked at: to be near one, it would have to say
    the same again and again.
    """
    sets = {key: query_trigrams(normalised(text)) for key, text in queries.items()}
    longest = 2 * max((len(normalised(text)) for text in queries.values()), default=0)
    frequency = Counter(member for members in sets.values() for member in members)
    having: dict[int, list[tuple[str, int, int]]] = defaultdict(list)  # by trigram: query, size, trigrams from there on
    for key, members in sets.items():
        for place, member in enumerate(_rarest(members, frequency, NEAR_QUERY)):
            having[member].append((key, len(members), len(members) - place))
    share = NEAR_QUERY / (1 + NEAR_QUERY)  # of both sizes together that two sets have in common at the threshold
    for chunk_id, text in chunks.items():
        if len(normal := normalised(text)) <= longest:
            members = query_trigrams(normal)
            near = {
                key
                for place, member in enumerate(_rarest(members, frequency, NEAR_QUERY))
                for key, size, left in having.get(member, ())
                # The rarest trigram that two sets share leaves no more to be shared than what comes after it.
                if min(left, len(members) - place) >= share * (size + len(members)) - 1e-9
            }
            yield from sorted((key, chunk_id) for key in near if overlap(sets[key], members) >= NEAR_QUERY)


def _alike(texts: Mapping[str, str], features: Callable[[str], Shingles], threshold: float) -> Alike:
    first: dict[str, str] = {}
    representative = {}
    for text_id in sorted(texts):
        representative[text_id] = first.setdefault(normalised(texts[text_id]), text_id)
    near = defaultdict(set)
    for one, other in _pairs_above({own: features(normal) for normal, own in first.items()}, threshold):
        near[one].add(other)
        near[other].add(one)
    return Alike(representative, {own: frozenset(others) for own, others in near.items()})


def _pairs_above(sets: Mapping[str, Shingles], threshold: float) -> Iterable[tuple[str, str]]:
    """Yield the pairs of sets whose overlap is at least `threshold`; exact.

    Two such sets share one of the first n - ceil(threshold * n) + 1 members of each, in any one order of all members;
    taking the rarest first leaves few to compare (prefix filter: Chaudhuri, Ganti and Kaushik, ICDE 2006).
    """
    frequency = Counter(member for members in sets.values() for member in members)
    seen_in: dict[int, list[str]] = defaultdict(list)
    for name, members in sorted(sets.items(), key=lambda item: (len(item[1]), item[0])):
        shortest = _shortest(members, threshold)
        prefix = _rarest(members, frequency, threshold)
        for other in {other for member in prefix for other in seen_in[member]}:
            if len(sets[other]) >= shortest and overlap(members, sets[other]) >= threshold:
                yield other, name
        for member in prefix:
            seen_in[member].append(name)


def _shortest(members: Shingles, threshold: float) -> int:
    """Return the size of the smallest set that could reach the threshold with this one."""
    return math.ceil(threshold * len(members) - 1e-9)


def _rarest(members: Shingles, frequency: Mapping[int, int], threshold: float) -> list[int]:
    """Return the members of which a set that reaches the threshold with this one shares at least one."""
    ordered = sorted(members, key=lambda member: (frequency[member], member))
    return ordered[: len(members) - _shortest(members, threshold) + 1]

"""A model that answers from passages and is asked by Ragas, played by a script; and a world to ask it about.

Each town has a query, a passage with the fact that answers it, and a passage with a rumour that does not; no two texts
share a word. The model takes for true what stands in a passage to the letter, so that what a metric must come to is
known. There are two retrievers with real weights: one takes queries for rumours, the other for facts.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from store.builds import Build
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.policies import add_policy
from tests.judge_stub import Call, Response, completion
from tests.labelled_store import POLICY, review
from train.answers.chain import BASE, TUNED, Question
from train.runs import RUN_FILE
from train.triplets import build

TOWNS = tuple(f"Town{letter}" for letter in "ABCDEFGHIJKLMNOPQR")


def words(town: str, what: str, count: int) -> list[str]:
    """Words that stand nowhere else."""
    digits = (chunk_id(f"{town}/{what}/{i}").removeprefix("chunk_")[:10] for i in range(count))
    return ["".join(chr(ord("a") + int(digit, 16)) for digit in ten) for ten in digits]


def query(town: str) -> str:
    return " ".join(words(town, "query", 4)) + "?"


def fact(town: str) -> str:
    return f"{town} {' '.join(words(town, 'fact', 12))}."


def rumour(town: str) -> str:
    return f"Somewhere {' '.join(words(town, 'rumour', 12))}."


def question(town: str, *, reference: bool = True, alike: bool = False) -> Question:
    """A question for which only the tuned retriever finds the fact; with `alike`, both do."""
    good, bad = (fact(town), rumour(town)), (rumour(town), "Nothing is known.")
    chunks = {BASE: good if alike else bad, TUNED: good}
    return Question(anchor_id(query(town)), query(town), f"group of {town}", chunks, fact(town) if reference else None)


def fill(store: Store, *, without_answer: Sequence[str] = ()) -> Build:
    """Log and review a query for each town, and build; the logged answer is the fact."""
    policy, _ = add_policy(store, POLICY)
    for line, town in enumerate(TOWNS):
        retrieved = (Retrieved(f"f{line}", 1, fact(town)), Retrieved(f"r{line}", 2, rumour(town)))
        answered = None if town in without_answer else fact(town)
        interaction = Interaction(query(town), retrieved, (Signal("cited", f"f{line}"),), line, answer=answered)
        add_interactions(store, [interaction], import_id="import_1")
        sources = ((fact(town), "cited", "positive"), (rumour(town), "uncited", "negative"))
        put_candidates(
            store,
            policy.name,
            [
                Candidate(anchor_id(query(town)), chunk_id(text), source, proposed, "interaction_1", rank)
                for rank, (text, source, proposed) in enumerate(sources, start=1)
            ],
        )
        review(store, query(town), {fact(town): "yes", rumour(town): "no"})
    return build(store, policy, test_share=0.7).build


def retriever(
    folder: Path, takes_queries_for: Callable[[str], str], run_of: Build | None = None, base: str = ""
) -> str:
    """Save a SentenceTransformer to which queries are close to these texts; with `run_of`, as a run."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    place = {"[UNK]": 0}
    for number, town in enumerate(TOWNS, start=1):
        for word in re.findall(r"[a-z]{10}", f"{query(town)} {takes_queries_for(town)}"):
            place[word] = number
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(place)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.eye(len(TOWNS) + 1, dtype=np.float32)[list(place.values())]
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))
    if run_of:
        record = {"build_id": run_of.build_id, "settings_id": "s", "settings": {"base_model": base}}
        (folder / RUN_FILE).write_text(json.dumps(record))
    return str(folder)


def is_answering(call: Call) -> bool:
    return "A search found the passages" in text_of(call)


def text_of(call: Call) -> str:
    return str(call.body["messages"][-1]["content"])


def answer(call: Call) -> Response:
    """Say the first passage, or what Ragas wants to know."""
    text = text_of(call)
    if is_answering(call):
        return completion(re.search(r"<passage-1-\w+>\n(.*?)\n</passage-1-", text, re.DOTALL).group(1))
    return completion(json.dumps(reply(text)))


def malformed(call: Call) -> Response:
    """Answer, but give Ragas nothing that it can read."""
    return answer(call) if is_answering(call) else completion("I would rather not say.")


def reply(text: str) -> dict[str, object]:
    """What Ragas gets for a prompt, as an object."""
    given = json.loads(text[text.rindex("\ninput: ") + len("\ninput: ") : text.rindex("Output: ")])
    if "classify if the sentence can be attributed" in text:
        said = [(one, int(one in given["context"])) for one in _sentences(given["answer"])]
        return {"classifications": [{"statement": one, "reason": "r", "attributed": found} for one, found in said]}
    if "verify if the context was useful" in text:
        return {"reason": "r", "verdict": int(given["answer"] in given["context"])}
    if "extract unique entities" in text:
        return {"entities": sorted(set(re.findall(r"Town\w", given["text"])))}
    if "judge the faithfulness" in text:
        judged = [(one, int(one in given["context"])) for one in given["statements"]]
        return {"statements": [{"statement": one, "reason": "r", "verdict": found} for one, found in judged]}
    if "Generate a question for the given answer" in text:
        return {"question": given["response"], "noncommittal": 0}
    if "Decompose and break down" in text:
        return {"claims": _sentences(given["response"])}
    assert "Break down each sentence" in text, text
    return {"statements": _sentences(given["answer"])}


def _sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.findall(r"[^.]+\.", text)]

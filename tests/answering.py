"""A model that answers from passages and is asked by Ragas, played by a script; and questions to put to it.

Each question has one fact, which is a sentence of one passage. The model takes for true what stands in a passage to
the letter, so that what a metric must come to can be told.
"""

import json
import re

from store.ids import anchor_id
from tests.judge_stub import Call, Response, completion
from train.answers.chain import BASE, TUNED, Question

TOWNS = ("Aal", "Bex", "Cul", "Dol", "Elm", "Fyn", "Gor", "Hul", "Ist", "Jax", "Kor", "Lyn")


def fact(town: str) -> str:
    return f"The bridge of {town} was built in {1500 + TOWNS.index(town)}."


def rumour(town: str) -> str:
    return f"The river of {town} has never been measured."


def query(town: str) -> str:
    return f"When was the bridge of {town} built?"


def question(town: str, *, reference: bool = True, alike: bool = False) -> Question:
    """A question for which only the tuned retriever finds the fact; with `alike`, both do."""
    good, bad = (fact(town), rumour(town)), (rumour(town), "Nothing is known of it.")
    return Question(
        anchor_id(query(town)),
        query(town),
        f"group of {town}",
        {BASE: good if alike else bad, TUNED: good},
        fact(town) if reference else None,
    )


def is_answering(call: Call) -> bool:
    return "A search found the passages" in text_of(call)


def text_of(call: Call) -> str:
    return str(call.body["messages"][-1]["content"])


def answer(call: Call) -> Response:
    """Say the first passage, or what Ragas wants to know."""
    text = text_of(call)
    if is_answering(call):
        return completion(re.search(r"<passage-1-\w+>\n(.*?)\n</passage-1-", text, re.DOTALL).group(1))
    return completion(json.dumps(_reply(text)))


def malformed(call: Call) -> Response:
    """Answer, but give Ragas nothing that it can read."""
    return answer(call) if is_answering(call) else completion("I would rather not say.")


def _reply(text: str) -> dict[str, object]:
    given = json.loads(text[text.rindex("\ninput: ") + len("\ninput: ") : text.rindex("Output: ")])
    if "classify if the sentence can be attributed" in text:
        classified = [
            {"statement": s, "reason": "r", "attributed": int(s in given["context"])}
            for s in _sentences(given["answer"])
        ]
        return {"classifications": classified}
    if "verify if the context was useful" in text:
        return {"reason": "r", "verdict": int(given["answer"] in given["context"])}
    if "extract unique entities" in text:
        return {"entities": sorted(set(re.findall(r"[A-Z]\w\w\b|\d{4}", given["text"])))}
    if "judge the faithfulness" in text:
        judged = [{"statement": s, "reason": "r", "verdict": int(s in given["context"])} for s in given["statements"]]
        return {"statements": judged}
    if "Generate a question for the given answer" in text:
        town = re.search(r"of (\w+)", given["response"]).group(1)
        return {"question": query(town), "noncommittal": 0}
    if "Decompose and break down" in text:
        return {"claims": _sentences(given["response"])}
    return {"statements": _sentences(given["answer"])}


def _sentences(text: str) -> list[str]:
    return re.findall(r"[^.]+\.", text)

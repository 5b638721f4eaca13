"""What becomes of each table when a text is forgotten.

The rules speak of the temporary tables that `store.forgetting_plan` lays out: gone_anchors, gone_chunks, gone_texts,
gone_pairs (those of them) and shown_pairs (all pairs that show one of them, as a reference for instance).
"""

from typing import NamedTuple


class Rule(NamedTuple):
    """What becomes of the rows of a table. `changes` None: they are deleted."""

    table: str
    rows: str
    changes: str | None


PAIRS = "pair_id IN (SELECT pair_id FROM gone_pairs)"
CHUNKS = "chunk_id IN (SELECT chunk_id FROM gone_chunks)"
ANCHORS = "anchor_id IN (SELECT anchor_id FROM gone_anchors)"
BESIDE = "reference_chunk_id IN (SELECT chunk_id FROM gone_chunks)"
_GENERATED = f"generation_id IN (SELECT generation_id FROM generations WHERE {CHUNKS})"

# In this order: later rules do not read what earlier ones changed. Tables that are not here hold ids and numbers only.
RULES = (
    Rule("interactions", ANCHORS, "answer = NULL, extra = '{}', query_id = NULL, external_id = NULL, source = NULL"),
    Rule(
        "interactions",  # an answer repeats what was retrieved for it
        f"interaction_id IN (SELECT interaction_id FROM retrievals WHERE {CHUNKS})"
        " AND (answer IS NOT NULL OR extra::VARCHAR <> '{}')",
        "answer = NULL, extra = '{}'",
    ),
    Rule("retrievals", f"{CHUNKS} AND external_id <> chunk_id", "external_id = chunk_id"),
    Rule(
        "signals",
        f"source IS NOT NULL AND interaction_id IN (SELECT interaction_id FROM interactions WHERE {ANCHORS})",
        "source = NULL",
    ),
    Rule("chunk_names", CHUNKS, None),
    Rule("candidates", PAIRS, None),
    Rule(
        "judgments",
        f"({PAIRS} OR {BESIDE}) AND (raw_answer IS NOT NULL OR quote IS NOT NULL OR reason IS NOT NULL)",
        "raw_answer = NULL, quote = NULL, reason = NULL",
    ),
    Rule(
        "permuted_asks", "raw_answer IS NOT NULL AND pair_id IN (SELECT pair_id FROM shown_pairs)", "raw_answer = NULL"
    ),
    Rule("reviews", f"{PAIRS} AND note IS NOT NULL", "note = NULL"),
    Rule("triage_scores", PAIRS, None),
    Rule("cross_encoder_scores", PAIRS, None),
    Rule("alike_pairs", f"{PAIRS} OR alike_id IN (SELECT pair_id FROM gone_pairs)", None),
    Rule(
        "embeddings",  # those of chunks and anchors that were mined go by their own ids
        "text_id IN (FROM gone_texts UNION ALL SELECT chunk_id FROM gone_chunks"
        " UNION ALL SELECT anchor_id FROM gone_anchors)",
        None,
    ),
    Rule(
        "synthetic_questions",
        f"({ANCHORS} OR repeats IN (SELECT anchor_id FROM gone_anchors) OR {_GENERATED}) AND text <> ''",
        "text = '', repeats = NULL",
    ),
    Rule("generations", f"{CHUNKS} AND raw_answer IS NOT NULL", "raw_answer = NULL"),
    Rule("anchors", ANCHORS, None),
    Rule("chunks", CHUNKS, None),
)

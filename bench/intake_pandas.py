"""What one would write with pandas in an afternoon. `bench/intake.py` runs it beside `uncited import` and `mine`.

It trusts its input: no line is validated, and when it is stopped it starts anew. It does read in pieces, since nobody's
machine has room for a log of 2 GB as one data frame, and it does know a line and a text that it has seen before.
"""

import hashlib
import json
import re
import sys

import duckdb  # noqa: TID251
import pandas as pd  # noqa: TID253

_NEAR = 0.8
_RUN = 5  # words
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS interactions (interaction VARCHAR, query VARCHAR, answer VARCHAR, time VARCHAR);
    CREATE TABLE IF NOT EXISTS chunks (text_id VARCHAR, text VARCHAR);
    CREATE TABLE IF NOT EXISTS names (chunk_id VARCHAR, text_id VARCHAR, document VARCHAR);
    CREATE TABLE IF NOT EXISTS retrievals (
        interaction VARCHAR, query VARCHAR, chunk_id VARCHAR, text_id VARCHAR, rank BIGINT, score DOUBLE, cited BOOLEAN
    );
"""


def import_log(file: str, database: str) -> None:
    """Write the new interactions of a log, their chunks (each text once), names and retrievals into a DuckDB file."""
    with duckdb.connect(database) as db:
        db.execute(_SCHEMA)
        known = set(db.execute("SELECT interaction FROM interactions").df()["interaction"])
        texts = set(db.execute("SELECT text_id FROM chunks").df()["text_id"])
        for lines in pd.read_json(file, lines=True, chunksize=5_000):
            records = lines.to_dict("records")
            lines["interaction"] = [_hash(json.dumps(record, sort_keys=True, default=str)) for record in records]
            lines = lines[~lines["interaction"].isin(known)].drop_duplicates("interaction")
            known.update(lines["interaction"])
            db.execute("INSERT INTO interactions SELECT interaction, query, answer, time::VARCHAR FROM lines")
            rows = pd.json_normalize(lines.to_dict("records"), "retrieved", ["interaction", "query", "cited"])
            rows["cited"] = rows.apply(lambda row: row["chunk_id"] in row["cited"], axis=1)
            rows["text_id"] = rows["text"].map(_hash)
            new = rows.drop_duplicates("text_id")
            new = new[~new["text_id"].isin(texts)]
            texts.update(new["text_id"])
            db.execute("INSERT INTO chunks SELECT text_id, text FROM new")
            named = rows.drop_duplicates(["chunk_id", "text_id"])  # noqa: F841 (DuckDB finds it by its name)
            db.execute(
                "INSERT INTO names SELECT chunk_id, text_id, document FROM named ANTI JOIN names USING (text_id)"
            )
            db.execute(
                "INSERT INTO retrievals SELECT interaction, query, chunk_id, text_id, rank, score, cited FROM rows"
            )


def mine(database: str) -> None:
    """Write each uncited chunk of each query, and whether it nearly repeats a cited one."""
    with duckdb.connect(database) as db:
        rows = db.execute("SELECT query, text_id, rank, score, cited FROM retrievals").df()
        texts = db.execute("FROM chunks").df().set_index("text_id")["text"].to_dict()
        pairs = rows.groupby(["query", "text_id"], as_index=False).agg(
            rank=("rank", "min"), score=("score", "max"), cited=("cited", "max")
        )
        found = []
        for query, group in pairs.groupby("query"):
            shingles = {text_id: _shingles(texts[text_id]) for text_id in group["text_id"]}
            cited = group[group["cited"]]["text_id"]
            for row in group[~group["cited"]].itertuples():
                one = shingles[row.text_id]
                best = max((len(one & shingles[c]) / len(one | shingles[c]) for c in cited), default=0.0)
                found.append((query, row.text_id, row.rank, row.score, best >= _NEAR))
        mined = pd.DataFrame(found, columns=["query", "text_id", "rank", "score", "duplicate"])  # noqa: F841
        db.execute("CREATE OR REPLACE TABLE candidates AS FROM mined")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + _RUN]) for start in range(max(1, len(words) - _RUN + 1))}


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    if task == "import":
        import_log(*arguments)
    else:
        mine(*arguments)

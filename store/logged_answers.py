"""The answers that were logged beside what was retrieved."""

from store.database import Store


def logged_answers(store: Store, build_id: str) -> dict[str, str]:
    """Return the newest logged answer to each query of a build's test split, by anchor; queries without one are absent.

    Empty answers count as none.
    """
    rows = store.rows(
        """
        WITH tested AS (
            SELECT DISTINCT anchor_id FROM build_labels JOIN pairs USING (pair_id)
            WHERE build_id = ? AND split = 'test'
        )
        SELECT anchor_id, answer FROM interactions SEMI JOIN tested USING (anchor_id)
        WHERE trim(answer) <> ''
        QUALIFY row_number() OVER (
            PARTITION BY anchor_id ORDER BY happened_at DESC NULLS LAST, interaction_id
        ) = 1
        """,
        [build_id],
    )
    return {str(row["anchor_id"]): str(row["answer"]) for row in rows}

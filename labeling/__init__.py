"""From candidates to labels: policies, the judge, review in Argilla."""

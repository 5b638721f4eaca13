"""Records of a review server by what they show: which pair stands behind one."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from labeling.argilla_client import call
from labeling.review_dataset import find_dataset
from store.policies import Policy

if TYPE_CHECKING:
    from argilla import Argilla


def pair_of_record(client: "Argilla", policies: Collection[Policy], record: str) -> str | None:
    """Return the external id of a record, given the server's id of it; None where no dataset of the policies has it.

    Raises:
        ProviderError: Argilla failed.
    """
    wanted = {"type": "terms", "scope": {"entity": "record", "property": "id"}, "values": [record]}
    for policy in policies:
        for adjudication in (False, True):
            dataset = find_dataset(client, policy, adjudication=adjudication)
            if dataset is None:
                continue
            path = f"/api/v1/datasets/{dataset.dataset_id}/records/search"
            found = call(client, "POST", path, params={"limit": 1}, json={"filters": {"and": [wanted]}})["items"]
            if found:
                return str(found[0]["record"]["external_id"])
    return None

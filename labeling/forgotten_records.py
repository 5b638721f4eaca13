"""Records of a review server that show a forgotten text, or a forgotten reviewer's answers."""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from labeling.argilla_client import call
from labeling.review_dataset import Dataset, find_dataset, read_records
from store.policies import Policy
from store.progress import silent

if TYPE_CHECKING:
    from argilla import Argilla

_BATCH = 100  # the server's cap


class Record(NamedTuple):
    """A record on the server, by the server's ids."""

    dataset: Dataset
    record_id: str


def records_of_pairs(client: "Argilla", policies: Collection[Policy], pair_ids: Collection[str]) -> list[Record]:
    """Find the records of pairs in the datasets of these wordings of policies, conflicts included.

    Raises:
        ProviderError: Argilla failed.
    """
    wanted = set(pair_ids)
    found = []
    for policy in policies:
        for adjudication in (False, True):
            dataset = find_dataset(client, policy, adjudication=adjudication)
            if dataset is not None:
                found += [
                    Record(dataset, str(record["id"]))
                    for record in read_records(client, dataset, silent)
                    if str(record["external_id"]).partition("-")[0] in wanted
                ]
    return found


def remove_records(client: "Argilla", records: Collection[Record]) -> None:
    """Delete records with all answers to them.

    Raises:
        ProviderError: Argilla failed.
    """
    datasets = {record.dataset.dataset_id for record in records}
    for dataset in sorted(datasets):
        ids = [record.record_id for record in records if record.dataset.dataset_id == dataset]
        for start in range(0, len(ids), _BATCH):
            named = {"ids": ",".join(ids[start : start + _BATCH])}
            call(client, "DELETE", f"/api/v1/datasets/{dataset}/records", params=named)

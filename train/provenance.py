"""Where the data of a run comes from: its build, the policy behind it, who labelled, and what is certified."""

import json
from collections.abc import Mapping
from typing import cast

from store.build_evidence import certificate_bodies, label_counts
from store.builds import Build
from store.database import Store
from store.judgments import judge_configs
from store.policies import get_policy_by_id


def provenance(store: Store, build: Build) -> dict[str, object]:
    """Return what stands behind a build, as JSON has it and without a single text of the logs.

    Keys: build_id, built_at, policy (name, version, policy_id, labelling_fingerprint, training_fingerprint, question,
    roles), labels (one dict a combination of split, label, role and source, with `pairs`), reviewers (how many),
    judges (judge_id, model, labels), certificates (what each states), uncertified (whether labels of a judge are in
    the build that no certificate speaks about), synthetic_queries.
    """
    policy = get_policy_by_id(store, build.policy_id)
    settings = build.settings
    counts = cast("Mapping[str, int]", settings.get("counts", {}))
    used = cast("Mapping[str, int]", settings.get("judges", {}))
    configs = judge_configs(store)
    return {
        "build_id": build.build_id,
        "built_at": build.built_at.isoformat(),
        "policy": {
            "name": policy.name,
            "version": settings.get("policy_version"),
            "policy_id": build.policy_id,
            "labelling_fingerprint": policy.labelling_fingerprint,
            "training_fingerprint": policy.training_fingerprint,
            "question": policy.question,
            "roles": {label.name: label.role for label in policy.labels},
        },
        "labels": label_counts(store, build.build_id),
        "reviewers": len(cast("Mapping[str, int]", settings.get("reviewers", {}))),
        "judges": [
            {"judge_id": judge_id, "model": json.loads(configs[judge_id]).get("model"), "labels": used[judge_id]}
            for judge_id in sorted(used.keys() & configs.keys())
        ],
        "certificates": certificate_bodies(store, cast("list[str]", settings.get("certificates", []))),
        "uncertified": bool(settings.get("uncertified")),
        "synthetic_queries": counts.get("synthetic_queries", 0),
    }

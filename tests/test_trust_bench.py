"""The benchmark of certificates, at a small scale on real logs."""

from pathlib import Path

import numpy as np
import pytest

from bench.judge_quality import graded_pairs
from bench.trust import Played, negatives_at, print_curves, print_played
from bench.trust_strategy import Laboratory, simulated


@pytest.fixture
def lab(real_logs: Path, tmp_path: Path) -> Laboratory:
    data = real_logs / "crowdrag25"
    return Laboratory(data, graded_pairs(data), tmp_path)


@pytest.mark.slow
def test_a_good_judge_saves_reviews_and_a_bad_one_costs_none(
    lab: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = sum(role == "negative" for role in lab.truth.values())
    share = everything / len(lab.truth)
    good = lab.run(simulated("", lab.truth, lab.label_of, 0.995, runs=1, seed=1), 0, np.random.default_rng(1))
    bad = lab.run(simulated("", lab.truth, lab.label_of, 0.3, runs=1, seed=1), 0, np.random.default_rng(1))
    assert good.certified_at is not None
    assert not good.false
    assert good.certified_at.negatives / good.certified_at.reviews > 3 * share
    assert bad.certified_at is None
    assert bad.outlook is not None
    assert not bad.outlook.worthwhile
    assert bad.steps[-1].negatives == everything, "it goes on with plain reviewing, and loses nothing"
    for name, run in (("good", good), ("bad", bad)):
        print_played(Played(name, [run]), share)
    print_curves([Played("good", [good])], len(lab.truth), share)
    said = capsys.readouterr().out
    assert "good: certified in 1 of 1 worlds, falsely in 0" in said
    assert "bad: certified in 0 of 1 worlds" in said
    assert "not good enough to certify anything" in said
    assert negatives_at(good, len(lab.truth)) >= good.certified_at.negatives


def test_a_simulated_judge_has_the_auc_that_it_is_said_to_have(lab: Laboratory) -> None:
    for auc in (0.3, 0.7, 0.95):
        said = simulated("", lab.truth, lab.label_of, auc, runs=1, seed=1).of_run(0)
        negative = lab.label_of["negative"]
        chances = {pair: c if label == negative else 1 - c for pair, (label, c) in said.items() if c is not None}
        of = {role: np.array([chances[p] for p, r in lab.truth.items() if r == role]) for role in lab.label_of}
        found = (of["negative"][:, None] > of["positive"][None, :]).mean()
        assert found == pytest.approx(auc, abs=0.03)

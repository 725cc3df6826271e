"""Planted wrong labels of real paintings are found; runs where COMP_REAL_DATA names a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.competitions.competition import find_competition
from comp.data.manifest import Manifest
from comp.workspace import Workspace
from real_data import real_folder, use_real_weights


@pytest.mark.real
@pytest.mark.slow
def test_planted_labels_of_paintings_are_found(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = real_folder("art-classification")
    use_real_weights(monkeypatch)
    table = find_competition("art-classification", Workspace(workspace)).read(raw).table.copy()
    rng = np.random.default_rng(0)
    train = np.flatnonzero(table["split"] == "train")
    names = sorted(set(table["label"].iloc[train]))
    planted = {}
    for n in rng.choice(train, round(0.05 * len(train)), replace=False):
        planted[table["id"][n]] = table["label"][n]
        table.loc[n, "label"] = rng.choice([name for name in names if name != table["label"][n]])
    (workspace / "planted.csv").write_text(Manifest(table).to_csv())
    recipe = ["mode=probe", "model.name=tf_efficientnet_lite0", "model.size=192"]
    options = {"data": raw, "manifest": workspace / "planted.csv", "overrides": recipe}
    comp.run("art-classification", workspace=workspace, **options)
    found = comp.labels("latest", workspace=workspace, by="probabilities").found
    hits = [one for one in found if one.id in planted]
    assert len(hits) >= 0.6 * len(planted)
    assert len(hits) >= 0.7 * len(found)
    assert np.mean([one.answer == planted[one.id] for one in hits]) > 0.85

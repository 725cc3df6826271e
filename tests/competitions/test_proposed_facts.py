"""What `comp new --from` proposes for the raw folders of real competitions: facts that read every row, uncorrected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comp.config import validate
from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig
from comp.data.competitions.from_folder.as_toml import as_toml
from comp.data.competitions.from_folder.guess import propose
from comp.data.images.raw_tree import RawTree
from comp.files import parse_toml
from raw_layouts import LAYOUTS

# by slug: the metric, as the site says it; then what the folder says
FACTS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "aerial-cactus": ("roc_auc", "single-label", "prob", {"label": "has_cactus", "images": "train/{id}"}),
    "dogs-vs-cats": ("log_loss", "single-label", "prob", {"images": "train/*.jpg"}),
    "histopathologic-cancer": ("roc_auc", "single-label", "prob", {"images": "train/{id}.tif"}),
    "siim-isic-melanoma": (
        "roc_auc",
        "single-label",
        "prob",
        {"group": "patient_id", "images": "jpeg/train/{id}.jpg", "test_images": "jpeg/test/{id}.jpg"},
    ),
    "aptos2019-blindness": ("quadratic_kappa", "ordinal", "label", {"label": "diagnosis"}),
    "cassava-leaf-disease": ("accuracy", "single-label", "label", {"images": "train_images/{id}"}),
    "dog-breed": ("log_loss", "single-label", "probs", {"table": "labels.csv", "label": "breed"}),
    "plant-pathology-2020": (
        "roc_auc",
        "single-label",
        "probs",
        {"onehot": ["healthy", "multiple_diseases", "rust", "scab"]},
    ),
    "plant-pathology-2021": ("samples_f1", "multi-label", "labels", {"labels": "labels", "separator": " "}),
    "ranzcr-clip": ("roc_auc", "multi-label", "probs", {"group": "PatientID"}),
    "imet-2020": ("micro_f2", "multi-label", "labels", {"labels": "attribute_ids"}),
    "petfinder-pawpularity": ("rmse", "regression", "number", {"label": "Pawpularity"}),
    "state-farm-drivers": ("log_loss", "single-label", "probs", {"label": "classname", "group": "subject"}),
    "herbarium-2021": (
        "macro_f1",
        "single-label",
        "label",
        {"label": "category_id", "images": "train/{file_name}"},
    ),
    "iwildcam-2020": ("accuracy", "single-label", "label", {"label": "category_id", "group": "location"}),
    "plant-seedlings": ("micro_f1", "single-label", "label", {"images": "train/*/*"}),
    "invasive-species": ("roc_auc", "single-label", "prob", {"table": "train_labels.csv"}),
    "whale-categorization": ("map@5", "single-label", "topk", {"label": "Id"}),
    "happy-whale": ("map@5", "single-label", "topk", {"label": "individual_id"}),
    "inaturalist-2019": ("accuracy", "single-label", "label", {"images": "{file_name}"}),
    "galaxy-zoo": ("rmse", "regression", "number", {"images": "images_training_rev1/{id}.jpg"}),
}


@pytest.mark.parametrize("slug", FACTS)
def test_the_facts_of_a_real_layout_need_no_correction(
    slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "cache"))
    raw = tmp_path / slug
    truth = LAYOUTS[slug].make(raw, 3)
    metric, task, kind, data = FACTS[slug]
    proposal = propose(raw, metric)
    found = parse_toml(as_toml(proposal, slug, slug))
    facts = validate(CompetitionConfig, found, slug)
    assert (facts.task, facts.template.kind, facts.metric) == (task, kind, metric)
    assert found["data"] | data == found["data"]
    assert set(proposal.unsure) <= {"template.positive", "template.file", "data.label"}
    manifest = Competition(raw, facts).read(raw)
    tree = RawTree(raw)
    assert [path for path in manifest.table["path"] if not tree.has(path)] == []
    assert set(manifest.test["id"]) == set(truth.answers)
    assert len(set(manifest.train["path"])) == len(manifest.train)
    if slug != "inaturalist-2019":  # its second table, of validation images, is left out
        assert len(manifest.train) == truth.train_images
    if truth.groups:
        by_id = dict(zip(manifest.train["id"], manifest.train["group"], strict=True))
        together = {i.removeprefix("train/"): group for i, group in by_id.items()}
        assert all(together.get(i, group) for i, group in truth.groups.items())

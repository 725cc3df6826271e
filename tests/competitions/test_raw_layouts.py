"""The raw folders of real competitions, made small: their trees, their seeds, and the competitions' rules."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from raw_layouts import LAYOUTS, Truth, read_answers, write_answers

Download = Callable[[str], tuple[Path, Truth]]

NUMBER_RULES = ("auc", "weighted_auc", "log_loss_of_two", "log_loss_of_many", "log_loss_of_each_class")
NUMBER_RULES += ("quadratic_kappa", "rmse", "mean_r2")

# Some exact names of each download; "a.zip!b" is a member of an archive.
NAMES: dict[str, tuple[str, ...]] = {
    "aerial-cactus": ("train.csv", "sample_submission.csv", "train.zip", "test.zip"),
    "dogs-vs-cats": (
        "sample_submission.csv",
        "train.zip!train/cat.0.jpg",
        "train.zip!train/dog.49.jpg",
        "test.zip!test/1.jpg",
    ),
    "histopathologic-cancer": ("train_labels.csv", "sample_submission.csv", "train/*.tif", "test/*.tif"),
    "siim-isic-melanoma": (
        "train.csv",
        "test.csv",
        "jpeg/train/ISIC_*.jpg",
        "jpeg/test/ISIC_*.jpg",
        "train/ISIC_*.dcm",
        "test/ISIC_*.dcm",
    ),
    "aptos2019-blindness": ("train.csv", "test.csv", "train_images/*.png", "test_images/*.png"),
    "cassava-leaf-disease": (
        "label_num_to_disease_map.json",
        "train_images/*.jpg",
        "test_images/*.jpg",
        "train_tfrecords/ld_train00-115.tfrec",
        "test_tfrecords/ld_test00-35.tfrec",
    ),
    "dog-breed": ("labels.csv", "sample_submission.csv", "train/*.jpg", "test/*.jpg"),
    "plant-pathology-2020": ("train.csv", "test.csv", "images/Train_0.jpg", "images/Test_0.jpg"),
    "state-farm-drivers": ("driver_imgs_list.csv", "imgs/train/c0/img_*.jpg", "imgs/test/img_*.jpg"),
    "plant-pathology-2021": ("train.csv", "sample_submission.csv", "train_images/*.jpg", "test_images/*.jpg"),
    "ranzcr-clip": ("train.csv", "train_annotations.csv", "train/1.2.826.*.jpg", "test/1.2.826.*.jpg"),
    "imet-2020": ("labels.csv", "train.csv", "train/*.png", "test/*.png"),
    "petfinder-pawpularity": ("train.csv", "test.csv", "train/*.jpg", "test/*.jpg"),
    "herbarium-2021": (
        "train/metadata.json",
        "test/metadata.json",
        "train/images/000/00/*.jpg",
        "train/images/000/11/*.jpg",
        "test/images/000/0.jpg",
    ),
    "iwildcam-2020": (
        "iwildcam2020_train_annotations.json",
        "iwildcam2020_test_information.json",
        "iwildcam2020_megadetector_results.json",
        "train/*-21bc-11ea-a13a-137349068a90.jpg",
        "test/*-21bc-11ea-a13a-137349068a90.jpg",
    ),
    "plant-seedlings": ("sample_submission.csv", "train/Small-flowered Cranesbill/*.png", "test/*.png"),
    "invasive-species": ("train_labels.csv", "sample_submission.csv", "train/1.jpg", "test/1.jpg"),
    "fisheries-monitoring": (
        "sample_submission_stg1.csv",
        "train/ALB/img_*.jpg",
        "train/NoF/img_*.jpg",
        "test_stg1/img_*.jpg",
    ),
    "paddy-disease": ("train.csv", "train_images/blast/10*.jpg", "test_images/200001.jpg"),
    "leaf-classification": ("train.csv", "test.csv", "sample_submission.csv", "images/*.jpg"),
    "noaa-right-whale": ("train.csv", "sample_submission.csv", "imgs/w_*.jpg"),
    "iwildcam-2019": ("train.csv", "test.csv", "train_images.zip", "test_images.zip"),
    "whale-categorization": ("train.csv", "sample_submission.csv", "train/*.jpg", "test/*.jpg"),
    "hotel-id-2021": ("train.csv", "train_images/0/*.jpg", "train_images/81/*.jpg", "test_images/*.jpg"),
    "happy-whale": ("train.csv", "sample_submission.csv", "train_images/*.jpg", "test_images/*.jpg"),
    "planet-amazon": (
        "train_v2.csv",
        "sample_submission_v2.csv",
        "train-jpg/train_0.jpg",
        "test-jpg/test_0.jpg",
        "test-jpg-additional/file_0.jpg",
    ),
    "diabetic-retinopathy": (
        "trainLabels.csv",
        "sampleSubmission.csv",
        "train/*_left.jpeg",
        "test/*_right.jpeg",
    ),
    "galaxy-zoo": (
        "training_solutions_rev1.csv",
        "all_zeros_benchmark.csv",
        "all_ones_benchmark.csv",
        "central_pixel_benchmark.csv",
        "images_training_rev1/*.jpg",
        "images_test_rev1/*.jpg",
    ),
    "human-protein-atlas": ("train.csv", "train/*_red.png", "train/*_yellow.png", "test/*_green.png"),
    "alaska2-steganalysis": (
        "Cover/00001.jpg",
        "JMiPOD/00001.jpg",
        "JUNIWARD/00030.jpg",
        "UERD/00030.jpg",
        "Test/0001.jpg",
    ),
    "imet-2019": ("labels.csv", "train.csv", "train/*.png", "test/*.png"),
    "inaturalist-2019": (
        "train2019.json",
        "val2019.json",
        "test2019.json",
        "train_val2019.tar.gz",
        "test2019.tar.gz",
        "kaggle_sample_submission.csv",
    ),
    "herbarium-2022": (
        "train_metadata.json",
        "test_metadata.json",
        "train_images/000/00/00000__001.jpg",
        "test_images/000/test-000000.jpg",
    ),
    "cifar-10": ("trainLabels.csv", "sampleSubmission.csv", "train/1.png", "test/1.png"),
    "street-view-characters": ("trainLabels.csv", "sampleSubmission.csv", "train/1.Bmp", "test/6284.Bmp"),
    "digit-recognizer": ("train.csv", "test.csv", "sample_submission.csv"),
    "dogs-vs-cats-2013": ("sampleSubmission.csv", "train/cat.0.jpg", "train/dog.49.jpg", "test1/1.jpg"),
    "cervical-cancer": (
        "sample_submission.csv",
        "train/Type_1/*.jpg",
        "additional_Type_3_v2/Type_3/*.jpg",
        "test/*.jpg",
    ),
    "kitchenware": ("train.csv", "test.csv", "sample_submission.csv", "images/0*.jpg"),
    "cassava-2019": (
        "sample_submission_file.csv",
        "train/cbsd/train-cbsd-0.jpg",
        "test/0/test-img-0.jpg",
        "extraimages/extra-image-0.jpg",
    ),
    "panda-prostate": (
        "train.csv",
        "train_images/*.tiff",
        "train_label_masks/*_mask.tiff",
        "test_images/*.tiff",
    ),
    "ubc-ovarian": ("train.csv", "test.csv", "train_images/*.png", "train_thumbnails/*_thumbnail.png"),
    "mayo-stroke": ("train.csv", "test.csv", "other.csv", "train/*_0.tif", "test/*_0.tif", "other/*_0.tif"),
    "plant-traits-2024": ("train.csv", "test.csv", "train_images/*.jpeg", "test_images/*.jpeg"),
    "csiro-biomass": ("train.csv", "test.csv", "train/ID*.jpg", "test/ID*.jpg"),
}
HEADERS: dict[str, tuple[str, str]] = {  # a labels table of the download, and how it begins
    "aerial-cactus": ("train.csv", "id,has_cactus"),
    "histopathologic-cancer": ("train_labels.csv", "id,label"),
    "siim-isic-melanoma": (
        "train.csv",
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target",
    ),
    "aptos2019-blindness": ("train.csv", "id_code,diagnosis"),
    "cassava-leaf-disease": ("train.csv", "image_id,label"),
    "dog-breed": ("labels.csv", "id,breed"),
    "plant-pathology-2020": ("train.csv", "image_id,healthy,multiple_diseases,rust,scab"),
    "state-farm-drivers": ("driver_imgs_list.csv", "subject,classname,img"),
    "plant-pathology-2021": ("train.csv", "image,labels"),
    "ranzcr-clip": (
        "train.csv",
        "StudyInstanceUID,ETT - Abnormal,ETT - Borderline,ETT - Normal,NGT - Abnormal,",
    ),
    "imet-2020": ("train.csv", "id,attribute_ids"),
    "petfinder-pawpularity": ("train.csv", "Id,Subject Focus,Eyes,Face,Near,Action,Accessory,Group,Collage,"),
    "paddy-disease": ("train.csv", "image_id,label,variety,age"),
    "leaf-classification": ("train.csv", "id,species,margin1,margin2,"),
    "noaa-right-whale": ("train.csv", "Image,whaleID"),
    "invasive-species": ("train_labels.csv", "name,invasive"),
    "iwildcam-2019": (
        "train.csv",
        "category_id,date_captured,file_name,frame_num,id,location,rights_holder,",
    ),
    "whale-categorization": ("train.csv", "Image,Id"),
    "hotel-id-2021": ("train.csv", "image,chain,hotel_id,timestamp"),
    "happy-whale": ("train.csv", "image,species,individual_id"),
    "planet-amazon": ("train_v2.csv", "image_name,tags"),
    "diabetic-retinopathy": ("trainLabels.csv", "image,level"),
    "galaxy-zoo": ("training_solutions_rev1.csv", "GalaxyID,Class1.1,Class1.2,Class1.3,Class2.1,"),
    "human-protein-atlas": ("train.csv", "Id,Target"),
    "cifar-10": ("trainLabels.csv", "id,label"),
    "street-view-characters": ("trainLabels.csv", "ID,Class"),
    "digit-recognizer": ("train.csv", "label,pixel0,pixel1,"),
    "kitchenware": ("train.csv", "Id,label"),
    "cassava-2019": ("sample_submission_file.csv", "Category,Id"),
    "panda-prostate": ("train.csv", "image_id,data_provider,isup_grade,gleason_score"),
    "ubc-ovarian": ("train.csv", "image_id,label,image_width,image_height,is_tma"),
    "mayo-stroke": ("train.csv", "image_id,center_id,patient_id,image_num,label"),
    "plant-traits-2024": ("train.csv", "id,WORLDCLIM_BIO1_annual_mean_temperature,"),
    "csiro-biomass": (
        "train.csv",
        "sample_id,image_path,Sampling_Date,State,Species,Pre_GSHH_NDVI,Height_Ave_cm,",
    ),
}


def there(raw: Path, name: str) -> bool:
    """Whether the raw folder has a file of that name or pattern."""
    archive, _, member = name.partition("!")
    if member:
        return member in zipfile.ZipFile(raw / archive).namelist()
    return any(raw.glob(name))


def digest(raw: Path) -> str:
    """The names and bytes of all files under a folder."""
    total = hashlib.sha256()
    for path in sorted(p for p in raw.rglob("*") if p.is_file()):
        total.update(path.relative_to(raw).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def turned(truth: Truth) -> dict[str, tuple[str, ...]]:
    """Every row with the answer of another row: what a submission in the wrong order says."""
    cells = list(truth.answers.values())
    return dict(zip(truth.answers, [*cells[1:], cells[0]], strict=True))


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Download:
    """The raw folder of a layout from seed 0 and its truth; each is written once for this module."""

    @cache
    def written(slug: str) -> tuple[Path, Truth]:
        raw = tmp_path_factory.mktemp(slug) / "raw"
        return raw, LAYOUTS[slug].make(raw, 0)

    return written


def test_every_layout_is_looked_at() -> None:
    assert set(NAMES) == set(LAYOUTS)
    assert len(LAYOUTS) == 45


@pytest.mark.parametrize("slug", LAYOUTS)
def test_the_tree_is_the_downloads(slug: str, download: Download) -> None:
    raw, truth = download(slug)
    assert [name for name in NAMES[slug] if not there(raw, name)] == []
    if slug in HEADERS:
        table, header = HEADERS[slug]
        assert (raw / table).read_text().startswith(header)
    assert list(read_answers(raw / truth.template, truth)) != list(truth.answers.values())
    assert 60 <= truth.train_images <= 130
    assert 20 <= len(truth.answers) <= 40 or slug == "csiro-biomass"  # five rows an image


@pytest.mark.parametrize("slug", LAYOUTS)
def test_the_same_seed_gives_the_same_bytes(slug: str, tmp_path: Path, download: Download) -> None:
    raw, truth = download(slug)
    assert LAYOUTS[slug].make(tmp_path / "raw", 0) == truth
    assert digest(tmp_path / "raw") == digest(raw)


@pytest.mark.slow
@pytest.mark.parametrize("slug", LAYOUTS)
def test_another_seed_gives_other_images(slug: str, tmp_path: Path, download: Download) -> None:
    LAYOUTS[slug].make(tmp_path / "raw", 1)
    assert digest(tmp_path / "raw") != digest(download(slug)[0])


@pytest.mark.parametrize("slug", LAYOUTS)
def test_a_perfect_answer_scores_best_and_a_shifted_answer_worse(
    slug: str, tmp_path: Path, download: Download
) -> None:
    layout, (raw, truth) = LAYOUTS[slug], download(slug)
    write_answers(tmp_path / "perfect.csv", truth, truth.answers)
    write_answers(tmp_path / "shifted.csv", truth, turned(truth))
    perfect, shifted = (layout.grade(tmp_path / f"{name}.csv", truth) for name in ("perfect", "shifted"))
    assert perfect == pytest.approx(layout.best, abs=1e-9)
    assert shifted < perfect - 0.05 if layout.higher_is_better else shifted > perfect + 0.05
    template = (
        layout.grade(raw / truth.template, truth) if slug != "paddy-disease" else 0.0
    )  # it is empty there
    assert template < perfect if layout.higher_is_better else template > perfect


@pytest.mark.parametrize("slug", LAYOUTS)
def test_rows_in_any_order_score_the_same(slug: str, tmp_path: Path, download: Download) -> None:
    layout, (_, truth) = LAYOUTS[slug], download(slug)
    write_answers(tmp_path / "answers.csv", truth, dict(reversed(truth.answers.items())))
    assert layout.grade(tmp_path / "answers.csv", truth) == pytest.approx(layout.best, abs=1e-9)


@pytest.mark.parametrize("slug", LAYOUTS)
def test_what_kaggle_refuses_is_refused(slug: str, tmp_path: Path, download: Download) -> None:
    layout, (raw, truth) = LAYOUTS[slug], download(slug)
    bad = tmp_path / "bad.csv"
    first, *others = truth.answers
    for ids in (
        others,
        [f"{first}x", *others],
        [*truth.answers, "another"],
    ):  # one too few, unknown, too many
        write_answers(bad, truth, {i: truth.answers.get(i, truth.answers[first]) for i in ids})
        with pytest.raises(ValueError, match="ids differ"):
            layout.grade(bad, truth)
    text = (raw / truth.template).read_text()
    bad.write_text(text.replace(truth.columns[-1], "Other", 1))
    with pytest.raises(ValueError, match="columns"):
        layout.grade(bad, truth)
    bad.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(ValueError, match="twice"):
        layout.grade(bad, truth)


@pytest.mark.parametrize(
    "slug", [s for s, layout in LAYOUTS.items() if layout.grade.__name__ in NUMBER_RULES]
)
def test_an_empty_cell_or_a_word_for_a_number_is_refused_where_numbers_are_asked(
    slug: str, tmp_path: Path, download: Download
) -> None:
    layout, (_, truth) = LAYOUTS[slug], download(slug)
    first = next(iter(truth.answers))
    for cell in ("", "nan", "inf", "dog"):
        cells = (cell, *truth.answers[first][1:])
        write_answers(tmp_path / "bad.csv", truth, {**truth.answers, first: cells})
        with pytest.raises(ValueError, match=r"number|convert"):
            layout.grade(tmp_path / "bad.csv", truth)

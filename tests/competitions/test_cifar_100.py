"""CIFAR-100's pickles: old and new, folder and archive, whole, subset and hostile."""

from __future__ import annotations

import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from comp.data.competitions.competition import Competition
from comp.errors import InputError, RawDataError
from made import run_comp

Samples = Callable[[str], Path]
Find = Callable[[str], Competition]
FOLDER = "cifar-100-python"


@pytest.fixture
def raw(samples: Samples, tmp_path: Path) -> Path:
    """A sample of one's own."""
    shutil.copytree(samples("cifar-100"), tmp_path / "cifar")
    return tmp_path / "cifar"


def packed(raw: Path, to: Path) -> Path:
    to.mkdir()
    with tarfile.open(to / f"{FOLDER}.tar.gz", "w:gz") as tar:
        tar.add(raw / FOLDER, FOLDER)
    return to


def test_the_archive_reads_as_the_folder_does(raw: Path, tmp_path: Path, competition: Find) -> None:
    cifar = competition("cifar-100")
    archived = packed(raw, tmp_path / "packed")
    assert cifar.missing(archived) == []
    one, other = cifar.read(raw), cifar.read(archived)
    assert one.table.equals(other.table)
    for path in ("train#0", "train#799", "test#199"):
        assert np.array_equal(cifar.source(raw).load(path), cifar.source(archived).load(path))
    assert cifar.adapter.answers(raw) == cifar.adapter.answers(archived)


def test_rows_channels_and_labels_are_those_of_the_pickle(raw: Path, competition: Find) -> None:
    cifar = competition("cifar-100")
    table = pickle.loads((raw / FOLDER / "train").read_bytes())
    names = pickle.loads((raw / FOLDER / "meta").read_bytes())[b"fine_label_names"]
    manifest, source = cifar.read(raw), cifar.source(raw)
    assert len(manifest.train) == 800
    assert len(manifest.test) == 200
    for row in (0, 17, 799):
        assert manifest.train["label"][row] == names[table[b"fine_labels"][row]].decode()
        pixels = source.load(f"train#{row}")
        assert pixels.shape == (32, 32, 3)
        assert pixels[2, 5].tolist() == [
            int(table[b"data"][row][plane * 1024 + 2 * 32 + 5]) for plane in range(3)
        ]


def test_classes_are_in_the_order_of_meta_even_where_that_is_not_the_alphabet(
    raw: Path, competition: Find
) -> None:
    meta = raw / FOLDER / "meta"
    table = pickle.loads(meta.read_bytes())
    table[b"fine_label_names"] = table[b"fine_label_names"][::-1]
    meta.write_bytes(pickle.dumps(table, protocol=2))
    cifar = competition("cifar-100")
    labels = cifar.label_map(cifar.read(raw), raw)
    assert labels.names[0] == "thing_99"


def test_coarse_names_are_kept(raw: Path, samples: Samples, competition: Find) -> None:
    from comp.data.competitions.facts import import_adapter

    module = import_adapter(competition("cifar-100").file("adapter.py"), "cifar-100", {})
    coarse = module.function("coarse")(raw)
    assert len(coarse) == 100
    assert coarse["thing_00"] == "kind_00"
    assert coarse["thing_99"] == "kind_19"


def test_the_manifest_holds_nothing_of_the_test_labels(raw: Path, competition: Find) -> None:
    cifar = competition("cifar-100")
    before = cifar.read(raw).table
    test = raw / FOLDER / "test"
    table = pickle.loads(test.read_bytes())
    table[b"fine_labels"] = [0] * len(table[b"fine_labels"])
    test.write_bytes(pickle.dumps(table, protocol=2))
    assert cifar.read(raw).table.equals(before)
    assert set(cifar.adapter.answers(raw).values()) == {"thing_00"}


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(protocol: int, raw: Path, competition: Find) -> None:
    cifar = competition("cifar-100")
    before = cifar.read(raw).table
    for name in ("train", "test", "meta"):
        table = {
            key.decode(): value for key, value in pickle.loads((raw / FOLDER / name).read_bytes()).items()
        }
        (raw / FOLDER / name).write_bytes(pickle.dumps(table, protocol=protocol))
    assert cifar.read(raw).table.equals(before)


def test_the_old_names_of_numpy_are_read(raw: Path, competition: Find) -> None:
    train = raw / FOLDER / "train"
    content = train.read_bytes()
    assert b"numpy._core.multiarray" in content
    cifar = competition("cifar-100")
    before = cifar.read(raw).table
    train.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert cifar.read(raw).table.equals(before)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch /tmp/comp-was-here",)


def test_a_pickle_that_would_run_code_is_refused_by_name(
    raw: Path, competition: Find, workspace: Path
) -> None:
    (raw / FOLDER / "train").write_bytes(pickle.dumps({"data": Bomb()}))
    with pytest.raises(InputError) as error:
        competition("cifar-100").read(raw)
    assert "posix.system" in error.value.value or "nt.system" in error.value.value
    assert not Path("/tmp/comp-was-here").exists()
    done = run_comp(workspace, "check", "cifar-100", "--data", str(raw))
    assert done.code == 2
    assert "system" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "train"),
        (b"not a pickle at all", "train"),
        (pickle.dumps([1, 2]), "list"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}), "fine_labels"),
        (
            pickle.dumps(
                {"data": np.zeros((2, 30), np.uint8), "fine_labels": [0, 1], "coarse_labels": [0, 0]}
            ),
            "(2, 30)",
        ),
        (
            pickle.dumps(
                {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0], "coarse_labels": [0, 0]}
            ),
            "2 rows",
        ),
        (
            pickle.dumps(
                {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 100], "coarse_labels": [0, 0]}
            ),
            "100",
        ),
    ],
)
def test_a_file_that_is_none_of_cifars_is_refused(
    content: bytes, told: str, raw: Path, competition: Find
) -> None:
    (raw / FOLDER / "train").write_bytes(content)
    with pytest.raises(RawDataError) as error:
        competition("cifar-100").read(raw)
    assert told in error.value.rule + error.value.value


def test_a_torn_pickle_is_refused(raw: Path, competition: Find) -> None:
    train = raw / FOLDER / "train"
    train.write_bytes(train.read_bytes()[:-1000])
    with pytest.raises(RawDataError, match="whole"):
        competition("cifar-100").read(raw)


def test_a_subset_is_said_to_be_one(raw: Path, competition: Find) -> None:
    notes = competition("cifar-100").read(raw).notes
    assert any("800 of the 50,000" in note and "subset" in note for note in notes)


def test_a_full_file_with_another_md5_is_refused(raw: Path, competition: Find) -> None:
    rows = 50_000
    table = {
        b"data": np.zeros((rows, 3072), np.uint8),
        b"fine_labels": (np.arange(rows) % 100).tolist(),
        b"coarse_labels": (np.arange(rows) % 100 // 5).tolist(),
    }
    (raw / FOLDER / "train").write_bytes(pickle.dumps(table, protocol=4))
    with pytest.raises(RawDataError) as error:
        competition("cifar-100").read(raw)
    assert "16019d7e3df5f24257cddd939b257f8d" in error.value.value

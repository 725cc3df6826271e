"""What a notebook and its dataset are called on Kaggle, and their metadata files.

Fields and rules are those of the kaggle client (2.2.5: ``kernels_initialize``, ``kernels_push``,
``dataset_create_new``): titles and slugs of datasets have 6 to 50 characters, and a notebook's title must read as its
slug. The client itself is not needed here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comp.data.competitions.competition import Competition
from comp.errors import InputError

if TYPE_CHECKING:
    from comp.kaggle.kernel.speed import Device

KERNEL, DATASET = "kernel-metadata.json", "dataset-metadata.json"
ABOUT = "kernel.json"  # what later commands of ours must know
PUSHED = "pushed.json"  # how far the folder came on its way to Kaggle
LONGEST = 50


@dataclass(frozen=True)
class Names:
    """``owner`` is a user of Kaggle, ``name`` the slug of both the notebook and the dataset, ``competition`` Kaggle's."""

    owner: str
    name: str
    competition: str

    @property
    def id(self) -> str:
        """The notebook's id, and the dataset's: those are apart on Kaggle."""
        return f"{self.owner}/{self.name}"

    @property
    def title(self) -> str:
        """A title that reads as the slug."""
        return self.name.replace("-", " ")

    @property
    def code_file(self) -> str:
        return f"{self.name}.ipynb"

    def kernel_metadata(self, device: Device) -> dict[str, Any]:
        """What ``kaggle kernels push`` reads."""
        return {
            "id": self.id,
            "title": self.title,
            "code_file": self.code_file,
            "language": "python",
            "kernel_type": "notebook",
            "is_private": True,
            "enable_gpu": device.gpus > 0,
            "enable_tpu": False,
            "enable_internet": False,
            "machine_shape": device.shape,
            "dataset_sources": [self.id],
            "competition_sources": [self.competition],
            "kernel_sources": [],
            "model_sources": [],
        }

    def dataset_metadata(self) -> dict[str, Any]:
        """What ``kaggle datasets create`` reads; the dataset is private unless that is told otherwise."""
        return {"id": self.id, "title": self.title, "licenses": [{"name": "other"}]}

    def commands(self, folder: str, run: str) -> list[str]:
        """What to do with the folder, in this order."""
        return [
            f"kaggle datasets create -p {folder}/dataset",
            f"kaggle datasets status {self.id}",
            f"kaggle kernels push -p {folder}",
            f"kaggle kernels status {self.id}",
            f"kaggle competitions submit {self.competition} -k {self.id} -v 1 -f submission.csv -m {run}",
        ]


def names_for(competition: Competition, run: str, kaggle: str | None, user: str | None) -> Names:
    """The names for a run of a competition.

    Raises
    ------
    InputError
        If nobody says whose the notebook is, or what the competition is called on Kaggle, or a name cannot be one.
    """
    owner = user or os.environ.get("KAGGLE_USERNAME", "")
    if not owner:
        remedy = "`user=NAME`, the one in your profile's address, or set KAGGLE_USERNAME"
        raise InputError("a notebook belongs to a user of Kaggle", "none was named", remedy)
    named = kaggle or competition.facts.kaggle.slug
    if not named:
        value = f"{competition.slug} has no kaggle in its competition.toml"
        remedy = "`kaggle=SLUG`, the last part of the competition's address there"
        raise InputError("a notebook attaches a competition of Kaggle", value, remedy)
    for what, name in (("user", owner), ("competition", named)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            remedy = "the last part of its address alone, without slashes"
            raise InputError(f"a {what} of Kaggle is letters, digits and hyphens", repr(name), remedy)
    room = LONGEST - len(f"comp--{run}")
    return Names(owner, f"comp-{competition.slug[:room].strip('-')}-{run}", named)

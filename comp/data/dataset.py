"""A competition's raw folder, read: the rows, labels, template and images that checks and training share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from comp.data.competitions.competition import Competition
from comp.data.competitions.sample import SAMPLE_MARK
from comp.data.extra_rows import with_extra
from comp.data.images.source import ImageSource, WithFiles
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.template import Template, load_template


@dataclass(frozen=True)
class Dataset:
    """What a raw folder holds: ``manifest`` its rows, ``template`` what is asked for, ``source`` the images by path."""

    competition: Competition
    raw: Path
    manifest: Manifest
    labels: LabelMap
    template: Template
    source: ImageSource

    @property
    def is_sample(self) -> bool:
        """Whether the raw folder was made up by ``comp data --sample``."""
        return (self.raw / SAMPLE_MARK).is_file()

    def with_manifest(self, manifest: Manifest) -> Dataset:
        """The same folder with other rows, or more known of them."""
        return replace(self, manifest=manifest)


def read_dataset(
    competition: Competition, raw: Path, manifest_file: Path | None = None, extra_file: Path | None = None
) -> Dataset:
    """Reads a raw folder, or with ``manifest_file`` the rows of a table; ``extra_file`` has rows that only ever train.

    Raises
    ------
    InputError
        For a raw folder in another layout, and for tables that are not what the competition's facts say.
    """
    if manifest_file is None:
        manifest = competition.read(raw)
    else:
        competition.require_layout(raw)
        manifest = competition.tidied(Manifest.read_csv(manifest_file), raw)
    if extra_file is not None:
        manifest = competition.tidied(with_extra(manifest, extra_file), raw)
    labels = competition.label_map(manifest, raw)
    template = load_template(competition, raw, manifest)
    source = competition.source(raw)
    return Dataset(
        competition, raw, manifest, labels, template, WithFiles(source) if len(manifest.extra) else source
    )

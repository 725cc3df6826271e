"""What a check of a raw folder came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comp.checks.context import CheckContext
from comp.checks.findings import Finding, counts
from comp.data.competitions.sample import SAMPLE_MARK
from comp.data.folds import Folds
from comp.data.images.source import ImageSource


@dataclass(frozen=True)
class CheckResult:
    """A raw folder, read and judged; ``folds`` is None where the data did not pass."""

    evidence: CheckContext
    source: ImageSource
    folds: Folds | None
    findings: list[Finding]
    allowed: dict[str, str]

    @property
    def status(self) -> str:
        return "fail" if counts(self.findings)["error"] else "pass"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp check --json``."""
        slug = self.evidence.competition.slug
        return {
            "slug": slug,
            "status": self.status,
            "findings": [f.as_json() for f in self.findings],
            "stats": self.stats(),
        }

    @property
    def is_sample(self) -> bool:
        """Whether the raw folder was made up by ``comp data --sample``."""
        return (self.evidence.raw / SAMPLE_MARK).is_file()

    def unread(self) -> dict[str, str]:
        """Test rows whose image cannot be decoded, id → path; a run has some only where ``--allow`` let them pass."""
        test, images = self.evidence.manifest.test, self.evidence.images
        return {i: path for i, path in zip(test["id"], test["path"], strict=True) if images[path].error}

    def stats(self) -> dict[str, Any]:
        """Counts that people compare with what the competition's page says."""
        manifest = self.evidence.manifest
        per_class = manifest.train["label"].value_counts()
        return {
            "train": len(manifest.train),
            "extra": len(manifest.extra),
            "test": len(manifest.test),
            "classes": len(self.evidence.labels),
            "smallest_class": int(per_class.min()) if len(per_class) else 0,
            "largest_class": int(per_class.max()) if len(per_class) else 0,
            "folds": self.evidence.k,
            "notes": list(manifest.notes),
        }

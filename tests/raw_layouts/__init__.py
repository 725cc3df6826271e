"""Raw folders of real Kaggle competitions, made small: true names, columns and formats; drawn images.

``LAYOUTS[slug].make(folder, seed)`` writes one and returns the truth of its test rows;
``LAYOUTS[slug].grade(csv, truth)`` is the competition's score of a submission, without ``comp``.
"""

from __future__ import annotations

from .classics import CLASSICS
from .folders import FOLDERS
from .grading import read_answers, write_answers
from .individuals import INDIVIDUALS
from .layout import RawLayout, Truth
from .many_classes import MANY_CLASSES
from .more_json import MORE_JSON
from .more_labels import MORE_LABELS
from .recent import RECENT
from .several_labels import SEVERAL_LABELS
from .two_classes import TWO_CLASSES
from .with_json import WITH_JSON

LAYOUTS: dict[str, RawLayout] = {
    layout.slug: layout
    for layout in (
        *TWO_CLASSES,
        *MANY_CLASSES,
        *SEVERAL_LABELS,
        *WITH_JSON,
        *FOLDERS,
        *INDIVIDUALS,
        *MORE_LABELS,
        *MORE_JSON,
        *CLASSICS,
        *RECENT,
    )
}

__all__ = ["LAYOUTS", "RawLayout", "Truth", "read_answers", "write_answers"]

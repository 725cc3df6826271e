"""Labels as people type them, made to agree: stray spaces, a BOM, Unicode form and case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from comp.manifest import Manifest
from comp.names import nfc

INVISIBLE = "\ufeff\u200b\u200e\u200f"  # byte order mark, zero-width space, direction marks
SLIP = 0.1  # a spelling with under a tenth of the rows of another is taken for a slip of it


def tidy_labels(manifest: Manifest, classes: Sequence[str] | None) -> Manifest:
    """A manifest whose labels are spelled as the label map has them; what was changed is in its notes.

    Parameters
    ----------
    manifest : Manifest
    classes : sequence of str or None
        The label map; None where it is the distinct labels of the rows themselves. Then a spelling that differs
        in case alone is taken for a slip only where it is rare beside the other.
    """
    counts = Counter(label for label in manifest.table["label"] if label)
    spelling = spellings(counts, classes)
    changed = {label: to for label, to in spelling.items() if to != label}
    if not changed:
        return manifest
    table = manifest.table.assign(label=[spelling.get(label, label) for label in manifest.table["label"]])
    rows = sum(counts[label] for label in changed)
    shown = ", ".join(f"{label!r} as {to!r}" for label, to in list(changed.items())[:4])
    note = f"{rows} labels read without stray spaces or case: {shown}" + (" …" if len(changed) > 4 else "")
    return Manifest(table, (*manifest.notes, note))


def spellings(counts: Counter[str], classes: Sequence[str] | None) -> dict[str, str]:
    """How each label found (with its number of rows) is to be spelled."""
    if classes is not None:
        exact = {clean(name): name for name in classes}
        loose = _unambiguous(classes)
        return {
            label: exact.get(clean(label)) or loose.get(clean(label).casefold()) or label for label in counts
        }
    cleaned: Counter[str] = Counter()
    for label, rows in counts.items():
        cleaned[clean(label)] += rows
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label, _ in cleaned.most_common():
        alike[label.casefold()].append(label)
    found = {}
    for label in counts:
        plain = clean(label)
        usual = alike[plain.casefold()][0]
        found[label] = usual if cleaned[plain] < SLIP * cleaned[usual] else plain
    return found


def clean(text: str) -> str:
    """Text in NFC without invisible characters and without spaces around it."""
    return nfc(text.translate(dict.fromkeys(map(ord, INVISIBLE)))).strip()


def _unambiguous(names: Iterable[str]) -> dict[str, str]:
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[clean(name).casefold()].append(name)
    return {key: found[0] for key, found in alike.items() if len(found) == 1}

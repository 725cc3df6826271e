"""What mkdocs does before it reads mkdocs.yml's navigation: the decisions are listed there, by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Fills the entry "Decisions" of the navigation with the files of docs/decisions."""
    files = sorted(Path(config["docs_dir"], "decisions").glob("*.md"))
    for part in config["nav"]:
        for entry in next(iter(part.values())):
            if isinstance(entry, dict) and "Decisions" in entry:
                entry["Decisions"] = [f"decisions/{file.name}" for file in files]
    return config

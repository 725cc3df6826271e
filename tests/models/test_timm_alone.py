"""timm does not bring the tracker that is installed beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from made import clean_environment


def test_timm_is_imported_without_wandb_which_can_be_imported_afterwards(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("print('wandb was imported')\n")
    code = "from comp.models.timm_alone import timm; timm.create_model; print('timm'); import wandb"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["timm", "wandb was imported"]

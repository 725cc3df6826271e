"""timm without the tracker wandb, which `timm.utils` imports where it is installed: a second of every command, for timm's own trainer alone."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["timm"]

_modules: dict[str, Any] = dict.fromkeys(
    () if "wandb" in sys.modules or "timm" in sys.modules else ("wandb",)
)
sys.modules.update(_modules)  # None: whoever imports it is told that it is not there
try:
    import timm
    import timm.layers
    import timm.models
    import timm.optim
finally:
    for _name in _modules:
        del sys.modules[_name]

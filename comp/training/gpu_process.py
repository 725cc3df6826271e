"""What a process does that has one GPU: it trains a fold there, and its errors say which GPU that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comp.errors import TrainingFailed
from comp.training.time_limit import OutOfTime

if TYPE_CHECKING:
    from comp.training.train_fold import FoldJob

SEES = "CUDA_VISIBLE_DEVICES"
_SIGNS = ("cuda error", "cuda driver", "no cuda gpus", "cudnn_status", "cublas_status", "nvml", "hip error")
_RULE, _REMEDY = "a GPU has to work", f"look at `nvidia-smi`; {SEES} leaves it out, then `resume`"


class GpuFailed(TrainingFailed):
    """A GPU, or the process that had it, gave up: its fold may go on at another."""


@dataclass(frozen=True)
class OnGpu:
    """A fold's training, in the process that has the GPU: its errors say which one that is."""

    job: FoldJob
    gpu: str
    fold: str

    def __call__(self) -> None:
        try:
            self.job()
        except OutOfTime:
            raise
        except TrainingFailed as error:
            raise TrainingFailed(error.rule, f"{error.value}, on {self.gpu}", error.remedy) from error
        except (RuntimeError, MemoryError) as error:
            if not is_of_gpu(error):
                raise
            said = " ".join(str(error).split())[:200]
            raise GpuFailed(_RULE, f"{self.fold} on {self.gpu}: {said}", _REMEDY) from error


def is_of_gpu(error: BaseException) -> bool:
    """Whether an error says that a GPU could not go on, rather than what was asked of it."""
    import torch

    from comp.data.device_memory import is_out_of_memory

    accelerator = getattr(torch, "AcceleratorError", ())
    if isinstance(error, accelerator) or is_out_of_memory(error):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)

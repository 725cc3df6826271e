"""DICOM files by pydicom: one frame of one value a pixel, in the units that its rescale states (Hounsfield, say)."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.errors import CompError, ImageError, InputError

_INSTALL = 'pip install "imgcomp[medical]"'


def read_dicom(content: bytes, path: str) -> tuple[NDArray[Any], bool]:
    """Values float64 (H, W) after RescaleSlope and RescaleIntercept, and whether high ones are dark (MONOCHROME1).

    The window that a file states is not used: it is the file's own, and [images] has one scale for all. Inverting comes
    after the scale, as the standard has it (DICOM PS3.3, C.11.2 and C.7.6.3.1.2).

    Raises
    ------
    InputError
        Where pydicom is not installed.
    ImageError
        For a file that is torn, has colours or several frames, or is packed in a way that no decoder here knows.
    """
    try:
        import pydicom
    except ImportError as error:
        raise InputError("DICOM files need pydicom", f"{path}: it is not installed", _INSTALL) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that pixels do not depend on
            opened = pydicom.dcmread(io.BytesIO(content))
            kind = str(getattr(opened, "PhotometricInterpretation", ""))
            if kind not in ("MONOCHROME1", "MONOCHROME2"):
                raise _unreadable(path, f"PhotometricInterpretation is {kind or 'not said'}")
            if "ModalityLUTSequence" in opened:
                raise _unreadable(path, "it has a table of units (ModalityLUTSequence) in place of a slope")
            pixels = opened.pixel_array
        if pixels.ndim != 2:
            raise _unreadable(path, f"{pixels.shape[0]} frames; one file is one image")
        slope = float(getattr(opened, "RescaleSlope", 1) or 1)
        intercept = float(getattr(opened, "RescaleIntercept", 0) or 0)
    except CompError:
        raise
    except Exception as error:  # pydicom raises many kinds for a file that is not whole
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise _unreadable(path, reason) from error
    return np.asarray(pixels, np.float64) * slope + intercept, kind == "MONOCHROME1"


def _unreadable(path: str, reason: str) -> ImageError:
    rule = "a DICOM file has one frame of grey values"
    return ImageError(rule, f"{path}: {reason}", "convert it, or take its row out")

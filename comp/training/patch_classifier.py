"""A classifier of small images that is solved in seconds: features of patches, and a ridge regression on them.

The features are those of Coates, Lee & Ng (2011): patches of 6 x 6 pixels, contrast-normalised and whitened, compared
with a dictionary that k-means learns from the images themselves, and pooled over a grid of 3 x 3 parts and over the whole
image. Unlike pixels they know shapes where they move, so that mirrored copies help them as they help a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, cat, from_numpy, inference_mode

Floats = NDArray[np.float32]

SIDE = 32  # of the images, in pixels
PATCH, STEP = 6, 2
WORDS = 128  # of the dictionary
LEARNED_FROM = 10_000  # patches
ROUNDS = 8  # of k-means
LEAST = 0.25  # a likeness counts from here on
NOISE = (10 / 255) ** 2  # added to a patch's variance, so that flat ones are not all noise
RIDGE = 0.1
CELLS = 3
AT_ONCE = 200  # images


@dataclass(frozen=True, eq=False)
class Patches:
    """What patches are compared with: ``weight`` (P, W) and ``bias`` (W,) on normalised patches of P numbers."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def learned(cls, images: Floats, seed: int = 0) -> Patches:
        """The dictionary of some images (N, 32, 32, 3), float32 from 0 to 1."""
        rng = np.random.default_rng(seed)
        row = rng.integers(0, len(images), LEARNED_FROM)
        down, right = rng.integers(0, SIDE - PATCH + 1, (2, LEARNED_FROM))
        windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))
        cut = windows[row, down, right].transpose(0, 2, 3, 1).reshape(LEARNED_FROM, -1)
        patches = _normalised(from_numpy(np.ascontiguousarray(cut))).double().numpy()
        mean = patches.mean(0)
        values, vectors = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
        whiten = (vectors / np.sqrt(values + 0.01)) @ vectors.T
        words = _words((patches - mean) @ whiten, rng)
        weight = whiten @ words.T
        return cls(from_numpy(weight.astype(np.float32)), from_numpy((mean @ weight).astype(np.float32)))

    def features(self, images: Floats) -> Floats:
        """The features (N, 2 W 10) of images (N, 32, 32, 3)."""
        with inference_mode():
            parts = [self._of(images[n : n + AT_ONCE]) for n in range(0, len(images), AT_ONCE)]
            return np.asarray(cat(parts).numpy())

    def _of(self, images: Floats) -> Tensor:
        x = from_numpy(np.ascontiguousarray(images))
        windows = x.unfold(1, PATCH, STEP).unfold(2, PATCH, STEP).permute(0, 1, 2, 4, 5, 3)
        side = windows.shape[1]
        like = _normalised(windows.reshape(-1, self.weight.shape[0])) @ self.weight - self.bias
        both = cat([(like - LEAST).clamp_min(0), (-like - LEAST).clamp_min(0)], 1)
        grid = both.reshape(len(x), side, side, -1)
        edges = [side * n // CELLS for n in range(CELLS + 1)]
        cells = [
            grid[:, top:bottom, left:right].mean((1, 2))
            for top, bottom in pairwise(edges)
            for left, right in pairwise(edges)
        ]
        return cat([*cells, grid.amax((1, 2))], 1)


def held_out_answers(
    features: Floats,
    copies: list[Floats],
    targets: NDArray[np.int64],
    parts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The class (N,) that each row gets from a ridge regression on the rows of all other parts, and on their copies.

    Parameters
    ----------
    features : float32 array (N, D)
    copies : list of float32 arrays (N, D)
        Of the same rows, changed; they train, and are never answered.
    targets : int64 array (N,)
    parts : int64 array (N,)
    """
    middle, spread = features.mean(0), features.std(0) + np.float32(1e-3) * features.std() + np.float32(1e-12)
    scaled = [(one - middle) / spread for one in (features, *copies)]
    every = np.concatenate(scaled)
    kernel = (every @ every.T).astype(np.float64) / every.shape[1]
    wanted = np.tile(np.eye(int(targets.max()) + 1)[targets] * 2 - 1, (len(scaled), 1))
    part_of = np.tile(parts, len(scaled))
    answers = np.zeros(len(features), dtype=np.int64)
    for part in np.unique(parts):
        fitted, judged = np.flatnonzero(part_of != part), np.flatnonzero(parts == part)
        mean = wanted[fitted].mean(0)
        inner = kernel[np.ix_(fitted, fitted)] + RIDGE * np.eye(len(fitted))
        solved = np.linalg.solve(inner, wanted[fitted] - mean)
        answers[judged] = (kernel[np.ix_(judged, fitted)] @ solved + mean).argmax(1)
    return answers


def _words(patches: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Directions (W, P) by spherical k-means."""
    unit = patches / (np.linalg.norm(patches, axis=1, keepdims=True) + 1e-6)
    words: NDArray[np.float64] = unit[rng.permutation(len(unit))[:WORDS]]
    for _ in range(ROUNDS):
        like = unit @ words.T
        nearest = like.argmax(1)
        new = np.zeros_like(words)
        np.add.at(new, nearest, unit * like[np.arange(len(unit)), nearest][:, None])
        length = np.linalg.norm(new, axis=1, keepdims=True)
        lost = length[:, 0] < 1e-6
        new[lost] = unit[rng.integers(0, len(unit), int(lost.sum()))]
        words = new / np.maximum(np.linalg.norm(new, axis=1, keepdims=True), 1e-12)
    return words


def _normalised(patches: Tensor) -> Tensor:
    """Patches (R, P) of mean 0 and of about the same contrast."""
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + NOISE).sqrt()

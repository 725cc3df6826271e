"""What is minimised where rows have probabilities, weights or a teacher, packed so that mixing and feeding stay as they are.

A packed row is what it is to be answered with (D), what the teacher answers (D, where there is one), and 1, all times the
row's weight. Mixup and cutmix are linear: of packed rows they give the weighted mean of the losses of both images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from comp.data.labels import LabelMap
from comp.recipe import Recipe
from comp.training.plan import FoldRows, Rows


def packed(labels: LabelMap, part: FoldRows, rows: Rows, truth: Tensor, teacher: bool = True) -> Tensor:
    """The packed targets of some rows, whose labels are ``truth`` as ``losses.wanted`` has them: float32 (R, D + 1), or
    (R, 2 D + 1) with what a teacher answers.
    """
    own = hot(labels, truth) if part.shares is None else torch.from_numpy(part.shares[rows])
    ones = torch.ones(len(rows), 1)
    answers = [] if part.teacher is None or not teacher else [torch.from_numpy(part.teacher[rows])]
    weights = ones if part.weight is None else torch.from_numpy(part.weight[rows])[:, None]
    return torch.cat([own, *answers, ones], dim=1) * weights


def hot(labels: LabelMap, y: Tensor) -> Tensor:
    """Targets as ``losses.wanted`` has them, as float32 (B, D): of a single label one-hot."""
    return y.float() if y.is_floating_point() else torch.nn.functional.one_hot(y, len(labels)).float()


def unpacked(packed: Tensor, width: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """What rows are to be answered with (B, D), what the teacher answers (B, D) if there is one, and their weights (B,)."""
    weights = packed[:, -1]
    parts = packed[:, :-1] / weights[:, None]
    return parts[:, :width], parts[:, width:] if parts.shape[1] > width else None, weights


def packed_loss(
    logits: Tensor, targets: Tensor, recipe: Recipe, own_losses: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The mean over a batch of each row's loss times its weight, targets packed; ``own_losses`` gives the losses (B,) of
    logits and what rows are to be answered with, (B, D) both.

    With a teacher a row's loss is (1 - a) times its own, and a T² times the Kullback-Leibler divergence of the student's
    answers from the teacher's, both at temperature T (Hinton et al. 2015). Labels are smoothed in the first part alone.
    """
    own, answers, row_weights = unpacked(targets, logits.shape[1])
    each = own_losses(logits, own)
    if answers is not None:
        assert recipe.distill is not None, "a teacher answers where the recipe names one"
        share, temperature = recipe.distill.weight, recipe.distill.temperature
        is_single = recipe.loss.name in ("cross_entropy", "focal")
        apart = divergence(logits.float() / temperature, answers, is_single) * temperature**2
        each = (1 - share) * each + share * apart
    return (each * row_weights).mean()


def divergence(logits: Tensor, answers: Tensor, is_single: bool) -> Tensor:
    """KL(answers ‖ activated logits) of each row (B,): of classes that exclude each other, or the mean over columns."""
    if is_single:
        apart = torch.xlogy(answers, answers) - answers * torch.log_softmax(logits, dim=1)
        return apart.sum(dim=1)
    known = torch.xlogy(answers, answers) + torch.xlogy(1 - answers, 1 - answers)
    crossed = torch.nn.functional.binary_cross_entropy_with_logits(logits, answers, reduction="none")
    return (known + crossed).mean(dim=1)


def solved_packed_loss(
    logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None, is_single: bool
) -> Tensor:
    """The convex loss that a linear classifier is solved for, of packed rows without a teacher: as ``solved_loss`` for
    others.
    """
    own, _, row_weights = unpacked(targets, logits.shape[1])
    if is_single:
        terms = -(own * (1 - smoothing) + smoothing / logits.shape[1]) * torch.log_softmax(logits, dim=1)
    else:
        smoothed = own * (1 - smoothing) + smoothing / 2
        terms = torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    return ((terms if weights is None else terms * weights).sum(dim=1) * row_weights).mean()

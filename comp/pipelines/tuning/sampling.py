"""What a trial tries: optuna's TPE, seeded by the trial's place in its study, so that a study that was stopped goes on alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, TPESampler

from comp.recipe import derive_seed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

RANDOM = 10  # trials before the others are learned from


class SlotSampler(BaseSampler):
    """Proposes the values of slot ``slot``: of 0 the ``baseline``, of others by the tree-structured Parzen estimator (Bergstra
    et al. 2011) over the trials that there are.

    Each slot has a random state of its own: with one process the same study twice has the same trials, whether or not it
    was stopped between them.
    """

    def __init__(self, seed: int, baseline: Mapping[str, Any]) -> None:
        self._seed, self._baseline = seed, baseline
        self.begin(0)

    def begin(self, slot: int) -> None:
        """From now on it proposes for this slot."""
        self.slot = slot
        seed = derive_seed(self._seed, "trial", slot)
        self._own = TPESampler(seed=seed, n_startup_trials=RANDOM, multivariate=False)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Nothing: each key is proposed by itself, since not every trial has every key."""
        return {}

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Nothing, likewise."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of one key."""
        if self.slot == 0:
            return self._baseline[param_name]
        return self._own.sample_independent(study, trial, param_name, param_distribution)

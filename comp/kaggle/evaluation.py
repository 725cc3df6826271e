"""How a competition on Kaggle is scored, as a metric of ``comp``."""

from __future__ import annotations

import re

from comp.kaggle.client import Kaggle

# Kaggle's wording, in small letters without what is no letter or digit, by parts that tell metrics apart
_NAMES = (
    (r"quadraticweightedkappa|quadratickappa", "quadratic_kappa"),
    (r"rocauc|areaunder(the)?(receiver|roc)|^auc|columnwiseauc|aucroc", "roc_auc"),
    (r"multiclassloss|logloss|logarithmicloss|crossentropy", "log_loss"),
    (r"columnwiserootmean|mcrmse", "mcrmse"),
    (r"rootmeansquaredlog|rmsle", "rmsle"),
    (r"rootmeansquare|rmse", "rmse"),
    (r"meanabsoluteerror|^mae", "mae"),
    (r"meansquarederror|^mse", "mse"),
    (r"rsquared|r2score|coefficientofdetermination", "r2"),
    (r"probabilisticf", "probabilistic_f1"),
    (r"macrof1|macrofscore|macroaveragedf", "macro_f1"),
    (r"microf1|microaveragedf1|microfscore", "micro_f1"),
    (r"weightedf1|weightedfscore", "weighted_f1"),
    (r"meanfscorebeta2|fbeta.*2|f2", "samples_f2"),
    (r"meanf1|meanfscore|samplef1", "samples_f1"),
    (r"map@?(\d+)|meanaverageprecision@?(\d+)", "map@"),
    (r"averageprecision", "average_precision"),
    (r"balancedaccuracy", "balanced_accuracy"),
    (r"accuracy|categorization", "accuracy"),
)


def facts_on_kaggle(slug: str) -> tuple[str | None, str, bool]:
    """The metric of a competition by name, None where its wording is none that is known; that wording; and whether it takes
    notebooks only.

    Raises
    ------
    KaggleError
        Where Kaggle cannot be reached, or nobody is signed in.
    """
    api = Kaggle.open()
    said = api.evaluation_metric(slug)
    return metric_of(said), said, api.competition(slug).notebooks_only


def metric_of(said: str) -> str | None:
    """The metric that Kaggle's wording means; None for one that is not known."""
    plain = re.sub(r"[^a-z0-9@]", "", said.lower())
    for pattern, name in _NAMES:
        found = re.search(pattern, plain)
        if found:
            k = next((group for group in found.groups() if group and group.isdigit()), "")
            return f"{name}{k}" if name.endswith("@") else name
    return None

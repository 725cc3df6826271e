"""Which views a network can be fed: some are larger pictures than it was made for."""

from __future__ import annotations

from collections.abc import Sequence

from comp.errors import WeightsError
from comp.inference.views import large_size, large_sizes
from comp.recipe_schema import ModelPart
from comp.training.model import Net, require_forward
from comp.tta_presets import scale_of, sets_among


def require_larger(net: Net, part: ModelPart, classes: int, views: Sequence[str]) -> None:
    """WeightsError, naming the view, for a network that cannot read the larger pictures that some views feed it."""
    size = part.size or 224
    reads = {large_size(size, scale_of(view)): view for view in views}
    for larger in large_sizes(views, size):
        try:
            require_forward(net, part, classes, larger)
        except WeightsError as error:
            rule = f"the view {reads[larger]!r} needs a network that reads pictures of any size"
            raise WeightsError(rule, error.value, "take it out of tta") from error


def sets_to_try(net: Net, part: ModelPart, classes: int, tta: list[str]) -> dict[str, list[str]]:
    """The sets of views that ``tta`` lets be chosen among, by name, as far as this network can be fed them."""
    found = {}
    for name, views in sets_among(tta).items():
        try:
            require_larger(net, part, classes, views)
        except WeightsError:
            continue
        found[name] = views
    return found

"""Puts weights into a network: the backbone's all of them, the classifier's where they fit."""

from __future__ import annotations

import sys

from torch import nn

from comp.errors import WeightsError
from comp.models.net import Net, arguments_of, classifier_names, is_own
from comp.models.timm_alone import timm
from comp.models.weights import StateDict
from comp.recipe import ModelConfig

_OURS = ("backbone.", "head.")  # how ``Net`` names its parts
_HEADS = ("fc.", "classifier.", "head.")  # of models that are not timm's
_BY_SIZE = ("pos", "attention_bias")  # in the names of tables whose shape follows from the input's size
_OF_CONVERTERS = (RuntimeError, KeyError, AttributeError, TypeError, ValueError, IndexError, AssertionError)


def load_into(net: Net, weights: StateDict, part: ModelConfig) -> None:
    """Loads backbone weights; a classifier is kept where it fits, and anything else that does not is an error.

    To a classifier belongs what timm's model has beside the same model without classes: one or more linear layers, and
    what stands between them and the features (a norm, a hidden layer). It is kept where it is a single linear layer of
    as many classes, and otherwise left out. Names of other versions and position tables of other input sizes are
    changed as timm does it for that model.

    Raises
    ------
    WeightsError
        Naming the first tensors that are missing, unknown, of another shape, or no fractions.
    """
    wanted = net.backbone.state_dict()
    ours = all(name.startswith(_OURS) for name in weights) and not weights.keys() & wanted.keys()
    if ours:
        body, head = _split(weights, {name for name in weights if name.startswith("head.")})
        body = {name.removeprefix("backbone."): tensor for name, tensor in body.items()}
    else:
        weights = _unwrapped(weights, wanted)
        body, head = _split(weights, _classifier(part, weights, wanted))
    body = _with_channels(body, wanted)
    stem = net.new_stem
    if stem is not None and body.get(stem, wanted[stem]).shape != wanted[stem].shape:
        del body[stem], wanted[stem]  # it stays random, and learns at the backbone's rate
    if net.new_pool is not None and net.new_pool not in body:
        del wanted[net.new_pool]  # weights that were trained with another pooling know nothing of it
    faults = _faults(body, wanted)
    if faults and (read := _as_timm_reads(net.backbone, {**body, **head}, wanted)):
        other, head_then = _split(read, _classifier(part, read, wanted))
        if not _faults(other, wanted):
            body, head, faults = other, head_then, []
    if faults:
        value = "; ".join(f"{len(names)} {kind} ({', '.join(names[:2])}…)" for kind, names in faults)
        raise WeightsError(f"the weights must fit {part.name}", value, _remedy(faults))
    net.backbone.load_state_dict({k: v.to(wanted[k].dtype) for k, v in body.items()}, strict=False)
    _load_head(net.head, {k.removeprefix("head."): v for k, v in head.items()} if ours else _linear(head))


def _with_channels(body: StateDict, wanted: StateDict) -> StateDict:
    """The tensors with a first convolution of three channels as timm makes one of ``wanted``'s channels of it."""
    made = dict(body)
    for name, tensor in body.items():
        shape = list(tensor.shape)
        own = list(wanted[name].shape) if name in wanted else []
        is_first = len(shape) == len(own) == 4 and shape[1] == 3 != own[1]
        if is_first and shape[:1] + shape[2:] == own[:1] + own[2:]:
            made[name] = timm.models.adapt_input_conv(own[1], tensor)
    return made


def _split(weights: StateDict, heads: set[str]) -> tuple[StateDict, StateDict]:
    """The tensors of the backbone, and those of the classifier, which are named in ``heads``."""
    body = {name: tensor for name, tensor in weights.items() if name not in heads}
    return body, {name: tensor for name, tensor in weights.items() if name in heads}


def _classifier(part: ModelConfig, weights: StateDict, wanted: StateDict) -> set[str]:
    """The names of a classifier's tensors, as far as ``weights`` may hold some."""
    if weights.keys() <= wanted.keys():
        return set()
    if is_own(part.name):
        return {name for name in weights if name.startswith(_HEADS)} - wanted.keys()
    return classifier_names(part.name, wanted, **arguments_of(part))


def _faults(body: StateDict, wanted: StateDict) -> list[tuple[str, list[str]]]:
    """What keeps tensors from being those of a backbone, and which."""
    both = [k for k in wanted if k in body]
    shapes = [k for k in both if body[k].shape != wanted[k].shape]
    kinds = [k for k in both if wanted[k].is_floating_point() and not body[k].is_floating_point()]
    faults = {
        "missing": [k for k in wanted if k not in body and not k.endswith("num_batches_tracked")],
        "unknown": [k for k in body if k not in wanted],
        "other shape": [f"{k} {tuple(body[k].shape)} for {tuple(wanted[k].shape)}" for k in shapes],
        "no fractions": [f"{k} {body[k].dtype}" for k in kinds],
    }
    return [(kind, names) for kind, names in faults.items() if names]


def _remedy(faults: list[tuple[str, list[str]]]) -> str:
    """What to do about such faults."""
    tables = [name for kind, names in faults if kind == "other shape" for name in names if _is_by_size(name)]
    if len(tables) == sum(len(names) for _, names in faults):
        return "`overrides` with model.size as they were trained at: this model's position tables have no other size"
    return "name the model they were trained as, with its model.kwargs"


def _is_by_size(name: str) -> bool:
    return any(sign in name for sign in _BY_SIZE)


def _unwrapped(weights: StateDict, wanted: StateDict) -> StateDict:
    """The tensors without a first name that all of them share ("model.conv1.weight", as trainers wrap networks)."""
    while not weights.keys() & wanted.keys():
        parts = [name.partition(".") for name in weights]
        if len({first for first, _, _ in parts}) != 1 or not all(rest for _, _, rest in parts):
            break
        weights = {name.partition(".")[2]: tensor for name, tensor in weights.items()}
    return weights


def _as_timm_reads(backbone: nn.Module, weights: StateDict, wanted: StateDict) -> StateDict | None:
    """The tensors as timm reads them for this kind of model: other names, position tables of another size.

    None where it has no way of its own, or where that would resize a layer: such weights are another model's.
    """
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        read: StateDict = convert(dict(weights), backbone)
    except _OF_CONVERTERS:
        return None  # what does not fit is said by its name
    sizes = {tensor.numel() for tensor in weights.values()}
    for name in wanted.keys() & read.keys():
        before = {weights[name].numel()} if name in weights else sizes
        if read[name].numel() not in before and not _is_by_size(name):
            return None
    return read


def _linear(head: StateDict) -> StateDict:
    """The weight and bias of a classifier that is one linear layer or convolution of 1x1; nothing of any other."""
    named = {name.rpartition(".")[2]: tensor for name, tensor in head.items()}
    if len(head) != 2 or named.keys() != {"weight", "bias"}:
        return {}
    return {"weight": named["weight"].flatten(1), "bias": named["bias"]}


def _load_head(head: nn.Module, tensors: StateDict) -> None:
    """Loads a classifier if every tensor of it is there, in its shape."""
    if {k: v.shape for k, v in tensors.items()} == {k: v.shape for k, v in head.state_dict().items()}:
        head.load_state_dict({k: v.float() for k, v in tensors.items()})

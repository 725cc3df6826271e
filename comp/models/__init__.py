"""Networks: backbones and weights, what runs them on a device, and checkpoints."""

__all__ = [
    "autotune",
    "batchnorm_fusion",
    "checkpoint",
    "ladder",
    "load_weights",
    "metric_layers",
    "net",
    "runtime",
    "timm_alone",
    "weights",
]  # the modules that other packages import

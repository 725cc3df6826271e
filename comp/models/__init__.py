"""Networks: backbones and weights, what runs them on a device, and checkpoints."""

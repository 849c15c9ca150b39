"""Groups of torch layer types: convolutions, norms, activations, dropout."""

from torch import nn

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm,
)  # fmt: skip
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.Mish, nn.Hardswish,
    nn.ReLU6, nn.Softplus, nn.PReLU,
)  # fmt: skip
EXACT = (nn.ReLU, nn.LeakyReLU, nn.ReLU6)
"""Activations whose vectorised and scalar code round identically; for the others, the last few elements of a tensor
may round differently, and which are last depends on how many lanes there are. PReLU sums its slope's gradient."""
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
CHANNEL_DROPOUTS: dict[type[nn.Module], int] = {nn.Dropout1d: 3, nn.Dropout2d: 4, nn.Dropout3d: 5}
"""Dropouts of whole channels -> dimensions of a batch. Without the batch dimension torch draws a mask for the rows instead."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def slot_of(kind: type[nn.Module]) -> str:
    """The slot of a layer type: "norm", "activation", "dropout", or "" for other layers."""
    slots = {"norm": NORMS, "activation": ACTIVATIONS, "dropout": DROPOUTS}
    return next((slot for slot, kinds in slots.items() if issubclass(kind, kinds)), "")

"""Small networks for images `[B, 3, 8, 8]`, in the patterns of torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 3


class BasicBlock(nn.Module):
    def __init__(
        self, inside: int, outside: int, stride: int = 1, norm: type[nn.Module] = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = norm(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = norm(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, norm: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1, bias=False), norm(4), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(BasicBlock(4, 4, 1, norm))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2, norm))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.layer2(self.layer1(self.stem(x)))), 1))


class FrozenBatchNorm2d(nn.Module):
    """torchvision's: statistics and weights that are buffers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = (self.weight * (self.running_var + 1e-5).rsqrt()).reshape(1, -1, 1, 1)
        return x * scale + (self.bias.reshape(1, -1, 1, 1) - self.running_mean.reshape(1, -1, 1, 1) * scale)


class LayerNorm2d(nn.LayerNorm):
    """timm's and torchvision's: over the channels of maps."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.fc1, self.act, self.fc2 = nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        self.gamma = nn.Parameter(0.5 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        y = self.gamma * self.fc2(self.act(self.fc1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 2, 2), LayerNorm2d(8))
        self.blocks = nn.Sequential(ConvNeXtBlock(8), ConvNeXtBlock(8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean([-2, -1]))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(F.silu(self.reduce(F.adaptive_avg_pool2d(x, 1)))).sigmoid()


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.Hardswish(),
            nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6(), SqueezeExcite(6),
            nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 4, 3, 1, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4 + 2 * i), nn.ReLU(), nn.Conv2d(4 + 2 * i, 2, 3, 1, 1))
            for i in range(3)
        )
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.conv0(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.head(torch.cat(features, 1).amax((2, 3)))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.three = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 4, 1))
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.one(x), self.three(x), self.pool(x)], dim=1)
        return self.head(F.relu(y).mean((2, 3)))


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.up2 = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(8, 4, 3, padding=1))
        self.out = nn.Conv2d(12, 4, 3, padding=1)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down1(x))
        second = F.relu(self.down2(F.max_pool2d(first, 2)))
        y = torch.cat([first, self.up(second), self.up2(second)], dim=1)
        return self.head(F.relu(self.out(y)).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(True), nn.AvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(24, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class ShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm, self.head = nn.GroupNorm(2, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.leaky_relu(self.norm(self.second(x)), 0.1).flatten(2).mean(-1))


class StdConv2d(nn.Conv2d):
    """Weight standardisation, as timm's ResNetV2 and NFNet have it."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True, unbiased=False)
        return F.conv2d(x, (w - mean) / (var + 1e-6).sqrt(), self.bias, self.stride, self.padding)


class CircularConv2d(nn.Conv2d):
    """A convolution that pads in a way of its own, below `forward`."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weight, bias)


class NormAct(nn.BatchNorm2d):
    """timm's BatchNormAct2d."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class KeptInEvaluation(ResNet):
    """Batch norms whose statistics are not to move, as detection models keep them."""

    def train(self, mode: bool = True) -> KeptInEvaluation:
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


class FineTuned(ResNet):
    """A frozen body in evaluation mode, a head to train."""

    def __init__(self) -> None:
        super().__init__()
        self.stem.requires_grad_(False)
        self.layer1.requires_grad_(False)

    def train(self, mode: bool = True) -> FineTuned:
        super().train(mode)
        self.stem.eval()
        return self


def chain(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet,
    "resnet_frozen_norm": lambda: ResNet(FrozenBatchNorm2d),
    "resnet_instance_norm": lambda: ResNet(lambda c: nn.InstanceNorm2d(c, affine=True, track_running_stats=True)),  # type: ignore[arg-type]
    "resnet_norm_in_evaluation": KeptInEvaluation,
    "resnet_fine_tuned": FineTuned,
    "convnext": ConvNeXt,
    "mobilenet": MobileNet,
    "densenet": DenseNet,
    "inception": Inception,
    "unet": Unet,
    "vgg": Vgg,
    "shufflenet": ShuffleNet,
    "weight_standardised": lambda: chain(StdConv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), width=6),
    "padded_by_itself": lambda: chain(CircularConv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), width=6),
    "norm_with_activation": lambda: chain(nn.Conv2d(3, 6, 3), NormAct(6), nn.Conv2d(6, 6, 3), nn.ReLU(), width=6),
    "batch_statistics": lambda: chain(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), nn.SiLU(), width=6),
    "cumulative_statistics": lambda: chain(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=None), nn.ELU(), width=6),  # type: ignore[arg-type]
    "prelu": lambda: chain(nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Conv2d(6, 6, 3, dilation=2), nn.Mish(), width=6),
    "group_norm_first": lambda: chain(nn.GroupNorm(1, 3), nn.Conv2d(3, 6, 3), nn.ReLU(), width=6),
    "dropout2d": lambda: chain(nn.Conv2d(3, 6, 3), nn.Dropout2d(0.3), nn.ReLU(), width=6),
}  # fmt: skip

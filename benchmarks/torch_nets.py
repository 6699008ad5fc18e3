"""Reference networks in PyTorch, after torchvision, for speed and correctness comparisons; torch is an optional extra.

Parameter names and layer order follow torchvision, so that they also test the tables of
convnets/models/pretrained/names.py.
"""

import functools

import torch
from torch import nn


def classifier(features: int, first_dropout: bool = False) -> nn.Sequential:
    """Builds the classifier of AlexNet and VGG, with two hidden layers of 4,096 units."""
    a, b, last = nn.Linear(features, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)
    if first_dropout:
        return nn.Sequential(nn.Dropout(), a, nn.ReLU(), nn.Dropout(), b, nn.ReLU(), last)
    return nn.Sequential(a, nn.ReLU(), nn.Dropout(), b, nn.ReLU(), nn.Dropout(), last)


class Flat(nn.Module):
    """Convolutional features followed by a flattening and a classifier."""

    def __init__(self, features: nn.Module, head: nn.Module):
        super().__init__()
        self.features, self.classifier = features, head

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def lenet5() -> nn.Module:
    """Builds the LeNet-5 of lenet5_modern."""
    relu, pool = nn.ReLU, functools.partial(nn.MaxPool2d, 2, 2)
    features = nn.Sequential(
        nn.Conv2d(1, 6, 5), relu(), pool(), nn.Conv2d(6, 16, 5), relu(), pool(), nn.Conv2d(16, 120, 5), relu()
    )
    return Flat(features, nn.Sequential(nn.Linear(120, 84), relu(), nn.Linear(84, 10)))


def alexnet() -> nn.Module:
    pool, relu = functools.partial(nn.MaxPool2d, 3, 2), nn.ReLU
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), relu(), pool(), nn.Conv2d(64, 192, 5, 1, 2), relu(), pool(),
        nn.Conv2d(192, 384, 3, 1, 1), relu(), nn.Conv2d(384, 256, 3, 1, 1), relu(),
        nn.Conv2d(256, 256, 3, 1, 1), relu(), pool(),
    )  # fmt: skip
    return Flat(features, classifier(9216, first_dropout=True))


def vgg(lengths: tuple[int, ...], batch_norm: bool = False) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for maps, length in zip((64, 128, 256, 512, 512), lengths, strict=True):
        for _ in range(length):
            layers += [nn.Conv2d(channels, maps, 3, 1, 1), *[nn.BatchNorm2d(maps)] * batch_norm, nn.ReLU()]
            channels = maps
        layers.append(nn.MaxPool2d(2, 2))
    return Flat(nn.Sequential(*layers), classifier(25088))


class Block(nn.Module):
    """Residual block; CIFAR networks use zero-padded shortcuts, the others projection shortcuts."""

    def __init__(self, channels: int, maps: int, stride: int, bottleneck: bool, cifar: bool):
        super().__init__()
        conv = functools.partial(nn.Conv2d, bias=False)
        out = maps * (4 if bottleneck else 1)
        if bottleneck:
            self.conv1, self.conv2 = conv(channels, maps, 1), conv(maps, maps, 3, stride, 1)
            self.conv3, self.bn3 = conv(maps, out, 1), nn.BatchNorm2d(out)
        else:
            self.conv1, self.conv2 = conv(channels, maps, 3, stride, 1), conv(maps, maps, 3, 1, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(maps), nn.BatchNorm2d(maps)
        self.bottleneck, self.cifar = bottleneck, cifar
        self.same, self.extra = stride == 1 and channels == out, out - channels
        if not self.same and not cifar:
            self.downsample = nn.Sequential(conv(channels, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        if not self.same and self.cifar:
            half = self.extra // 2
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        elif not self.same:
            x = self.downsample(x)
        return torch.relu(x + y)


class ResNet(nn.Module):
    """torchvision's ResNet, with the stride on the 3x3, or with `cifar` the ResNet of section 4.2 after akamaster."""

    def __init__(self, lengths: tuple[int, ...], bottleneck: bool = False, cifar: bool = False):
        super().__init__()
        first = channels = 16 if cifar else 64
        self.cifar, self.stages = cifar, len(lengths)
        self.conv1 = nn.Conv2d(3, first, 3 if cifar else 7, 1 if cifar else 2, 1 if cifar else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        for stage, length in enumerate(lengths):
            maps, blocks = first * 2**stage, []
            for i in range(length):
                blocks.append(Block(channels, maps, 2 if stage and not i else 1, bottleneck, cifar))
                channels = maps * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        setattr(self, "linear" if cifar else "fc", nn.Linear(channels, 10 if cifar else 1000))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = x if self.cifar else nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return (self.linear if self.cifar else self.fc)(x.mean((2, 3)))


def _conv(channels: int, maps: int, *window: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, maps, *window), nn.ReLU())


class Inception(nn.Module):
    def __init__(self, channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, projected: int):
        super().__init__()
        self.branches = nn.ModuleList([
            _conv(channels, one, 1),
            nn.Sequential(_conv(channels, reduce3, 1), _conv(reduce3, three, 3, 1, 1)),
            nn.Sequential(_conv(channels, reduce5, 1), _conv(reduce5, five, 5, 1, 2)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(channels, projected, 1)),
        ])  # fmt: skip

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class GoogLeNet(nn.Module):
    """Table 1 of Szegedy et al. 2014 with both auxiliary classifiers; training returns (scores, [scores, scores])."""

    ROWS = {
        "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128),
        "5a": (832, 256, 160, 320, 32, 128, 128), "5b": (832, 384, 192, 384, 48, 128, 128),
    }  # fmt: skip

    def __init__(self):
        super().__init__()
        half, norm = functools.partial(nn.MaxPool2d, 3, 2, ceil_mode=True), nn.LocalResponseNorm
        self.stem = nn.Sequential(
            _conv(3, 64, 7, 2, 3), half(), norm(5, 5e-4, k=2.0),
            _conv(64, 64, 1), _conv(64, 192, 3, 1, 1), norm(5, 5e-4, k=2.0), half(),
        )  # fmt: skip
        self.modules_ = nn.ModuleDict({name: Inception(*row) for name, row in self.ROWS.items()})
        self.pool = half()
        self.heads = nn.ModuleDict({name: self._head(maps) for name, maps in (("4a", 512), ("4d", 528))})
        self.dropout, self.linear = nn.Dropout(0.4), nn.Linear(1024, 1000)

    @staticmethod
    def _head(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.AvgPool2d(5, 3, ceil_mode=True), _conv(channels, 128, 1), nn.Flatten(), nn.Linear(2048, 1024), nn.ReLU(),
            nn.Dropout(0.7), nn.Linear(1024, 1000),
        )  # fmt: skip

    def forward(self, x):
        x, auxiliary = self.stem(x), []
        for name, module in self.modules_.items():
            x = module(x)
            x = self.pool(x) if name in ("3b", "4e") else x
            if self.training and name in self.heads:
                auxiliary.append(self.heads[name](x))
        scores = self.linear(self.dropout(x.mean((2, 3))))
        return (scores, auxiliary) if self.training else scores


VGGS = {"a": (1, 1, 2, 2, 2), "b": (2, 2, 2, 2, 2), "d": (2, 2, 3, 3, 3), "e": (2, 2, 4, 4, 4)}
BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Networks by our names; the parameter names of those in PUBLISHED match published weight files.
PUBLISHED = {
    "alexnet_owt": alexnet,
    **{f"vgg_{k}{'_bn' * bn}": functools.partial(vgg, v, bn) for k, v in VGGS.items() for bn in (False, True)},
    **{f"resnet{n}": functools.partial(ResNet, v) for n, v in BASIC.items()},
    **{f"resnet{n}_v1_5": functools.partial(ResNet, v, bottleneck=True) for n, v in BOTTLENECK.items()},
    **{f"resnet{6 * n + 2}_cifar": functools.partial(ResNet, (n, n, n), cifar=True) for n in (3, 5, 7, 9, 18)},
}
NETS = {**PUBLISHED, "lenet5_modern": lenet5, "googlenet": GoogLeNet}

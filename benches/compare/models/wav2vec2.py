"""The encoder of wav2vec 2.0 base with 4 of its 12 layers, https://arxiv.org/abs/2006.11477.

The loss is the mean square of what comes out; the positional convolution's weights stand for
themselves, where the paper's code normalises them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Transformer

BATCH, SAMPLES, CHANNELS, WIDTH, KERNEL = 2, 5 * 16_000, 512, 768, 128
LAYERS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


class WaveLayer(nn.Module):
    def __init__(self, inputs: int, kernel: int, stride: int, norm: bool):
        super().__init__()
        self.conv = nn.Conv1d(inputs, CHANNELS, kernel, stride, bias=False)
        self.norm = nn.GroupNorm(CHANNELS, CHANNELS) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.gelu(x if self.norm is None else self.norm(x))


class WaveEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            WaveLayer(CHANNELS if at else 1, kernel, stride, at == 0)
            for at, (kernel, stride) in enumerate(LAYERS)
        )

    def forward(self, wave: Tensor) -> Tensor:
        x = wave[:, None]
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


class Model(nn.Module):
    def __init__(self, layers: int = 4):
        super().__init__()
        self.wave = WaveEncoder()
        self.wave_norm = nn.LayerNorm(CHANNELS)
        self.projection = nn.Linear(CHANNELS, WIDTH)
        self.position = nn.Conv1d(WIDTH, WIDTH, KERNEL, padding=KERNEL // 2, groups=16)
        self.norm = nn.LayerNorm(WIDTH)
        self.encoder = Transformer(WIDTH, layers, 12, pre_norm=False)
        # A last norm at its start would give the same mean square whatever came before it.
        nn.init.normal_(self.encoder.layers[-1].feed_forward_norm.weight)
        nn.init.normal_(self.encoder.layers[-1].feed_forward_norm.bias)

    def forward(self, samples: Tensor) -> Tensor:
        return self.infer(samples).square().mean()

    def infer(self, samples: Tensor) -> Tensor:
        x = self.projection(self.wave_norm(self.wave(samples)))
        # An even kernel padded on both sides gives a frame too many.
        place = self.position(x.transpose(1, 2))[..., :-1].transpose(1, 2)
        return self.encoder(self.norm(x + F.gelu(place)))


def train_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"samples": torch.randn(BATCH, SAMPLES, generator=generator)}


def infer_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"samples": torch.randn(1, SAMPLES, generator=generator)}

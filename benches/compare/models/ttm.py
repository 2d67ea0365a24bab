"""A Tiny Time Mixer of about a million weights, https://arxiv.org/abs/2401.03955."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import FeedForward

BATCH, CHANNELS, CONTEXT, PATCH, HORIZON = 64, 7, 512, 64, 96
COUNT, WIDTH, DECODER_WIDTH = CONTEXT // PATCH, 192, 128


class Mix(nn.Module):
    """Mixes along the last axis, or along the one before it, with a residual."""

    def __init__(self, size: int, width: int, across_tokens: bool):
        super().__init__()
        self.across_tokens = across_tokens
        self.norm = nn.LayerNorm(width)
        self.mix = FeedForward(size, 2 * size)
        self.gate = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(x)
        if self.across_tokens:
            mixed = mixed.transpose(1, 2)
        mixed = self.mix(mixed)
        mixed = mixed * F.softmax(self.gate(mixed), -1)
        return x + (mixed.transpose(1, 2) if self.across_tokens else mixed)


class Layer(nn.Module):
    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.token = Mix(tokens, width, True)
        self.feature = Mix(width, width, False)

    def forward(self, x: Tensor) -> Tensor:
        return self.feature(self.token(x))


class Stage(nn.Module):
    def __init__(self, width: int, cut: int):
        super().__init__()
        self.cut = cut
        self.layers = nn.ModuleList(Layer(COUNT * cut, width // cut) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        x = x.reshape(shape[0], COUNT * self.cut, shape[2] // self.cut)
        for layer in self.layers:
            x = layer(x)
        return x.reshape(shape)


class Mixer(nn.Module):
    """Adaptive patching: stages from fine to coarse."""

    def __init__(self, width: int, cuts: tuple[int, ...]):
        super().__init__()
        self.stages = nn.ModuleList(Stage(width, cut) for cut in cuts)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Linear(PATCH, WIDTH)
        self.encoder = Mixer(WIDTH, (4, 2, 1))
        self.adapter = nn.Linear(WIDTH, DECODER_WIDTH)
        self.decoder = Mixer(DECODER_WIDTH, (1,))
        self.head = nn.Linear(COUNT * DECODER_WIDTH, HORIZON)

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        return F.mse_loss(self.infer(past), future)

    def infer(self, past: Tensor) -> Tensor:
        batch, _, channels = past.shape
        variance, mean = torch.var_mean(past, 1, correction=0, keepdim=True)
        scale = (variance + 1e-5).sqrt()
        series = ((past - mean) / scale).transpose(1, 2)
        x = self.patch(series.reshape(batch * channels, COUNT, PATCH))
        x = self.decoder(self.adapter(self.encoder(x)))
        x = self.head(x.reshape(batch, channels, -1))
        return x.transpose(1, 2) * scale + mean


def train_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "past": torch.randn(BATCH, CONTEXT, CHANNELS, generator=generator) + 3,
        "future": torch.randn(BATCH, HORIZON, CHANNELS, generator=generator) + 3,
    }


def infer_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"past": torch.randn(1, CONTEXT, CHANNELS, generator=generator) + 3}

"""A masked autoencoder, ViT-S/16 on 224 pixels, https://arxiv.org/abs/2111.06377."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Transformer

BATCH, PIXELS, PATCH = 8, 224, 16
SIDE = PIXELS // PATCH
COUNT, KEPT = SIDE * SIDE, SIDE * SIDE // 4
WIDTH, DECODER_WIDTH, VALUES = 384, 512, PATCH * PATCH * 3


def patches(images: Tensor) -> Tensor:
    """`[batch, 3, height, width]` to `[batch * patches, rows * columns * colours]`."""
    x = images.view(-1, 3, SIDE, PATCH, SIDE, PATCH).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(-1, VALUES)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        small = lambda *shape: nn.Parameter(torch.randn(1, *shape) * 0.02)
        self.patch = nn.Linear(VALUES, WIDTH)
        self.position = small(1 + COUNT, WIDTH)
        self.class_token = small(1, WIDTH)
        self.encoder = Transformer(WIDTH, 12, 6, 1e-6)
        self.adapter = nn.Linear(WIDTH, DECODER_WIDTH)
        self.mask_token = small(1, DECODER_WIDTH)
        self.decoder_position = small(1 + COUNT, DECODER_WIDTH)
        self.decoder = Transformer(DECODER_WIDTH, 8, 16, 1e-6)
        self.pixels = nn.Linear(DECODER_WIDTH, VALUES)

    def encode(self, patches: Tensor, batch: int, kept: Tensor | None) -> Tensor:
        place = self.position[0, 1:]
        if kept is None:
            x = self.patch(patches).view(batch, COUNT, WIDTH) + place
        else:
            x = (self.patch(patches[kept]) + place[kept % COUNT]).view(batch, -1, WIDTH)
        first = (self.class_token + self.position[:, :1]).expand(batch, -1, -1)
        return self.encoder(torch.cat([first, x], 1))

    def forward(self, images: Tensor, kept: Tensor, removed: Tensor, restore: Tensor) -> Tensor:
        batch, values = len(images), patches(images)
        target = values[removed]
        variance, mean = torch.var_mean(target, -1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
        x = self.adapter(self.encode(values, batch, kept))
        masks = self.mask_token.expand(batch, 1 + COUNT - x.shape[1], -1)
        rest = torch.cat([x[:, 1:], masks], 1).flatten(0, 1)[restore]
        x = torch.cat([x[:, :1], rest.view(batch, COUNT, DECODER_WIDTH)], 1)
        x = self.decoder(x + self.decoder_position)[:, 1:]
        return F.mse_loss(self.pixels(x.flatten(0, 1)[removed]), target)

    def infer(self, images: Tensor) -> Tensor:
        return self.encode(patches(images), len(images), None)


def train_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, generator=generator)
    # As the paper's code: patches in the order of noise, the first of which are kept.
    order = torch.rand(BATCH, COUNT, generator=generator).argsort(1)
    first = torch.arange(BATCH)[:, None] * COUNT
    return {
        "images": images,
        "kept": (order[:, :KEPT] + first).flatten(),
        "removed": (order[:, KEPT:] + first).flatten(),
        "restore": (order.argsort(1) + first).flatten(),
    }


def infer_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"images": torch.randn(1, 3, PIXELS, PIXELS, generator=generator)}

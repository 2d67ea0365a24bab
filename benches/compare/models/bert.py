"""BERT of base width with 6 layers, https://arxiv.org/abs/1810.04805, on masked words alone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Transformer

BATCH, TOKENS, LONGEST, VOCABULARY, WIDTH, EPSILON = 8, 128, 512, 30_522, 768, 1e-12
MASKED = round(0.15 * BATCH * TOKENS)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.word = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Embedding(LONGEST, WIDTH)
        # Small enough for a loss of a few units, large enough for one that notices mistakes.
        nn.init.normal_(self.word.weight, std=0.1)
        nn.init.normal_(self.position.weight, std=0.1)
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.encoder = Transformer(WIDTH, 6, 12, EPSILON, pre_norm=False)
        self.head = nn.Linear(WIDTH, WIDTH)
        self.head_norm = nn.LayerNorm(WIDTH, EPSILON)
        self.decoder_bias = nn.Parameter(torch.zeros(VOCABULARY))

    def forward(self, ids: Tensor, masked: Tensor, labels: Tensor) -> Tensor:
        x = self.infer(ids).flatten(0, 1)[masked]
        x = self.head_norm(F.gelu(self.head(x)))
        return F.cross_entropy(F.linear(x, self.word.weight, self.decoder_bias), labels)

    def infer(self, ids: Tensor) -> Tensor:
        return self.encoder(self.norm(self.word(ids) + self.position.weight[: ids.shape[1]]))


def train_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "ids": torch.randint(VOCABULARY, (BATCH, TOKENS), generator=generator),
        "masked": torch.randperm(BATCH * TOKENS, generator=generator)[:MASKED].sort().values,
        "labels": torch.randint(VOCABULARY, (MASKED,), generator=generator),
    }


def infer_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"ids": torch.randint(VOCABULARY, (1, TOKENS), generator=generator)}

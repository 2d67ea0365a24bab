"""GPT-2 of small width with 6 layers, "Language models are unsupervised multitask learners"."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Transformer

BATCH, TOKENS, LONGEST, VOCABULARY, WIDTH = 4, 256, 1024, 50_257, 768


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.word = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Embedding(LONGEST, WIDTH)
        nn.init.normal_(self.word.weight, std=0.1)
        nn.init.normal_(self.position.weight, std=0.1)
        self.decoder = Transformer(WIDTH, 6, 12, causal=True, gelu="tanh")

    def decode(self, ids: Tensor) -> Tensor:
        return self.decoder(self.word(ids) + self.position.weight[: ids.shape[1]])

    def forward(self, ids: Tensor, labels: Tensor) -> Tensor:
        logits = F.linear(self.decode(ids).flatten(0, 1), self.word.weight)
        return F.cross_entropy(logits, labels)

    def infer(self, ids: Tensor) -> Tensor:
        return F.linear(self.decode(ids)[:, -1:], self.word.weight)


def train_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    text = torch.randint(VOCABULARY, (BATCH, TOKENS + 1), generator=generator)
    return {"ids": text[:, :-1].contiguous(), "labels": text[:, 1:].flatten()}


def infer_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"ids": torch.randint(VOCABULARY, (1, TOKENS), generator=generator)}

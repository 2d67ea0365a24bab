"""What the models are made of."""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.output(x.transpose(1, 2).reshape(batch, tokens, width))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int, gelu: str = "none"):
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.gelu(self.hidden(x), approximate=self.gelu))


class Block(nn.Module):
    def __init__(self, width, heads, epsilon, pre_norm, causal, gelu):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(width, heads, causal)
        self.attention_norm = nn.LayerNorm(width, epsilon)
        self.feed_forward = FeedForward(width, 4 * width, gelu)
        self.feed_forward_norm = nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x))
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x))
        return self.feed_forward_norm(x + self.feed_forward(x))


class Transformer(nn.Module):
    """Blocks; with the norm before each, a last norm follows them."""

    def __init__(
        self, width, layers, heads, epsilon=1e-5, pre_norm=True, causal=False, gelu="none"
    ):
        super().__init__()
        block = (width, heads, epsilon, pre_norm, causal, gelu)
        self.layers = nn.ModuleList(Block(*block) for _ in range(layers))
        if pre_norm:
            self.norm = nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) if hasattr(self, "norm") else x

"""A small vision transformer of plain layers.

Dosovitskiy et al. 2020, "An image is worth 16x16 words", arXiv 2010.11929, in the tiny width of Touvron et al. 2020 (DeiT, arXiv
2012.12877): 192 channels, 3 heads. Normalisation comes before each branch; the mean of all tokens is classified, which Beyer et al. 2022
(arXiv 2205.01580) found as good as an extra class token.
"""

import torch
from torch import Tensor, nn

from ...runtime.errors import ConfigError
from .architecture import Architecture

HEADS = 3
HEAD_CHANNELS = 64
MLP_RATIO = 4


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V in several heads; one linear layer makes Q, K and V.

    Written out: PyTorch's fused call exports to 40 more nodes, and on 49 tokens in bfloat16 it trains more slowly on a CPU.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape (N, P, D)."""
        query, key, value = (self._split(part) for part in self.qkv(tokens).chunk(3, dim=2))
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5  # (N, heads, P, P)
        mixed = scores.softmax(dim=3) @ value  # (N, heads, P, d)
        return self.project(mixed.transpose(1, 2).flatten(2))

    def _split(self, part: Tensor) -> Tensor:
        return part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, P, heads * d) -> (N, heads, P, d)


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, MLP_RATIO * channels), nn.GELU(), nn.Linear(MLP_RATIO * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape (N, P, D)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Patches become tokens, and the blocks let the tokens look at each other.

    Up to 64 pixels: patches of 4x4 (28 pixels give 49) and 4 blocks, 87 million multiply-accumulates in the linear layers. Above: patches
    of 16x16 (224 pixels give 196) and 12 blocks, which is DeiT-Tiny.

    Raises:
        ConfigError: The image's size is not a multiple of the patch's.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        patch, depth = (4, 4) if architecture.small else (16, 12)
        if architecture.size % patch:
            raise ConfigError("vit_tiny cuts the image into whole patches", f"{architecture.size} pixels", f"give a multiple of {patch}")
        channels = HEADS * architecture.widen(HEAD_CHANNELS)
        tokens = (architecture.size // patch) ** 2
        self.embed = nn.Conv2d(architecture.channels, channels, patch, stride=patch)
        # Places weigh as much as contents from the start. With the usual 0.02, here and in the linear layers, three epochs on 6,000 digits
        # gave 45 % instead of 90 %: those values are made for hundreds of epochs.
        self.position = nn.Parameter(0.5 * torch.randn(1, tokens, channels))
        self.blocks = nn.Sequential(*(EncoderBlock(channels, HEADS) for _ in range(depth)))
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, architecture.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, S, S)."""
        tokens = self.embed(images).flatten(2).transpose(1, 2)  # (N, P, D)
        tokens = self.blocks(tokens + self.position)
        return self.linear(self.norm(tokens).mean(dim=1))


def vit_tiny(architecture: Architecture) -> VisionTransformer:
    """Build the tiny vision transformer."""
    return VisionTransformer(architecture)

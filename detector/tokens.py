"""Shuffles for the tokens of a vision transformer, which form a grid of patches of the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detector.shuffle import Shuffle

__all__ = ["TokenShuffle", "token_grid"]


def token_grid(count: int) -> tuple[int, int] | None:
    """How many of the tokens stand before a square grid, 0 or 1 (the class token), and the grid's side.

    None where `count` is neither a square above 1 nor one more.

    Examples
    --------
    >>> token_grid(1 + 14 * 14), token_grid(7 * 7), token_grid(200)
    ((1, 14), (0, 7), None)
    """
    for before in (0, 1):
        side = math.isqrt(max(count - before, 0))
        if side > 1 and side * side == count - before:
            return before, side
    return None


class TokenShuffle(nn.Module):
    """A shuffle of the grid of patches of a vision transformer; the class token stays as it is.

    Parameters
    ----------
    shuffle
        The shuffle for the tokens, laid out as a map of one position a token.

    Examples
    --------
    >>> from detector import SpatialShuffle
    >>> tokens = torch.randn(2, 1 + 4 * 4, 8)
    >>> shuffled = TokenShuffle(SpatialShuffle(1))(tokens)
    >>> shuffled[:, 0].equal(tokens[:, 0]), shuffled[:, 1:].equal(tokens[:, 1:])
    (True, False)
    """

    def __init__(self, shuffle: Shuffle) -> None:
        super().__init__()
        self.shuffle = shuffle

    def forward(self, tokens: Tensor) -> Tensor:
        """Shuffle ``(N, L, C)``.

        Raises
        ------
        ValueError
            L is neither a square nor one more.
        """
        if not self.shuffle.active:
            return tokens
        grid = token_grid(tokens.shape[1])
        if grid is None:
            raise ValueError(
                f"found {tokens.shape[1]} tokens; expected a square grid, with or without one more"
            )
        before, side = grid
        # (N, L, C) is a channels-last map as it lies.
        n, _, channels = tokens.shape
        laid = tokens[:, before:].reshape(n, side, side, channels).movedim(-1, 1)
        shuffled = self.shuffle(laid).movedim(1, -1).flatten(1, 2)
        return torch.cat([tokens[:, :before], shuffled], 1)

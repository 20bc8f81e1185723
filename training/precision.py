"""The arithmetic of a forward pass outside of Lightning's trainer."""

from __future__ import annotations

import torch

__all__ = ["autocast"]

TYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes in a precision, by Lightning's name of it."""
    return torch.autocast(device.type, TYPES.get(precision), enabled=precision in TYPES)

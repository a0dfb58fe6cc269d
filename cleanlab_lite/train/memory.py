"""What a device says when it has no memory left."""

from __future__ import annotations

import torch


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the device ran out of memory, whose unused part is then given back, so that less can be tried."""
    if "out of memory" not in str(error):  # CUDA has a type of its own for it, MPS only says so
        return False
    torch.cuda.empty_cache()
    return True

"""The first line of each chapter: one seed, one device, said aloud."""

import random

import numpy as np
import torch


def setup(seed: int = 0) -> torch.device:
    """Seed PyTorch, NumPy and Python, choose a device, and print one line about both.

    Safe to run again.

    Args:
        seed: The seed of all three.

    Returns:
        The first CUDA device if there is one, else the CPU.

    Raises:
        TypeError: The seed is not an integer.
        ValueError: The seed is not in [0, 2**32).
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - readers' own code may use the global state
    random.seed(seed)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        name = f"CPU, {threads} thread" + ("s" if threads > 1 else "")
    print(f"torch {torch.__version__} on {name}; seed {seed}")
    return device

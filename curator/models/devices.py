"""Where models run, and in what precision."""

import torch

from curator.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def check_device(device: str) -> None:
    """Refuse a GPU that this PyTorch does not see, before any work."""
    if device == "cpu":
        return
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= there:
        seen = f"sees {there} GPU(s), counted from 0" if there else "sees no GPU"
        raise UsageError(f"--device: {device}, but PyTorch {seen}; give --device cpu, or see curator doctor")

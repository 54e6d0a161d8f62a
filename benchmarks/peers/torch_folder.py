"""A folder of pictures as most torch programs have it: a Dataset that opens each with Pillow, and a DataLoader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset


class Folder(Dataset[tuple[torch.Tensor, int]]):
    """Pictures in class folders: float CHW in [0, 1], squashed to `size_px`, and the class's number."""

    def __init__(self, root: Path, size_px: int) -> None:
        self.files = sorted(file for file in root.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        self.class_names = sorted({file.parent.name for file in self.files})
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file = self.files[index]
        with Image.open(file) as picture:
            small = picture.convert("RGB").resize((self.size_px, self.size_px), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
        return image, self.class_names.index(file.parent.name)

"""Scores of all places of a tile at once, by a network that slides over it. With torch.

Shape letters: H height, W width, C channels, K classes; h and w of a grid of places.
"""

from __future__ import annotations

import numpy as np
import torch

from keensight.bundle.network import network_of
from keensight.bundle.read import Bundle
from keensight.errors import KeensightError
from keensight.inference.scanning import Score
from keensight.models.sliding import Sliding, sliding
from keensight.models.tensors import to_images
from keensight.values import FloatArray, Uint8Array


def sliding_of(bundle: Bundle) -> Sliding | None:
    """Return a bundle's network as one that slides over a large picture; None if its layers do not allow it.

    Pictures that are inverted before the model sees them are looked at one by one.
    """
    if bundle.borders.inverts:
        return None
    try:
        model = network_of(bundle)
    except KeensightError:  # it has no weights beside its graph
        return None
    return sliding(model, bundle.preprocessing)


def by_sharing(network: Sliding, bundle: Bundle, step: int) -> Score:
    """Return what scores places `step` pixels apart; `step` divides the network's stride, or is a multiple of it.

    A smaller step takes several passes, each over the tile from another pixel on.
    """
    size, stride = bundle.preprocessing, network.stride
    passes, taken = max(1, stride // step), max(1, step // stride)

    def score(tile_HWC: Uint8Array) -> FloatArray:
        h, w = ((side - own) // step + 1 for side, own in zip(tile_HWC.shape, (size.height, size.width), strict=False))
        found_hwK = np.zeros((h, w, len(bundle.labels)), np.float32)
        for i in range(min(passes, h)):
            for j in range(min(passes, w)):
                images_NCHW = to_images(
                    np.ascontiguousarray(tile_HWC[None, i * step :, j * step :]), torch.device("cpu")
                )
                with torch.inference_mode():
                    logits_NKhw = network.logits(images_NCHW) / bundle.info.temperature
                    part_hwK = torch.softmax(logits_NKhw[0], 0).permute(1, 2, 0).numpy()[::taken, ::taken]
                rows, columns = found_hwK[i::passes, j::passes].shape[:2]
                found_hwK[i::passes, j::passes] = part_hwK[:rows, :columns]
        return found_hwK

    return score

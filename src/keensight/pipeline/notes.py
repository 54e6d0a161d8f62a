"""Notes that a reader needs besides the numbers: findings about the data, and the recipe's cautions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from keensight.models.external import Expected
from keensight.names import catch_alls_of
from keensight.pages.findings import sentence
from keensight.values import Recipe, Splits


def notes(splits: Splits, recipe: Recipe, dataset: str) -> list[str]:
    """Return the notes on a run of `recipe` on the data set of this name: findings first, then cautions."""
    said = [*map(sentence, splits.findings), *cautions(recipe, dataset)]
    if recipe.evaluate.coverage < 1 and not recipe.data.catch_all and (names := catch_alls_of(splits.class_names)):
        quoted = " and ".join(f"'{name}'" for name in names)
        may, one = ("may", "it does") if len(names) == 1 else ("may each", "one of them does")
        said.append(
            f"{quoted} {may} stand for everything else. If {one}, --set catch_all={shlex.quote(names[0])} gives it the "
            "pictures that are unlike all that was learnt; without, they are none of these."
        )
    return said


def pictures_of_backbone(name: str, expected: Expected) -> str:
    """Say which pictures a foreign backbone was trained on, and what of that is not done here.

    >>> pictures_of_backbone("timm/resnet18", Expected(224, "crop", 0.875, "bilinear"))
    'timm/resnet18 was trained on squares of 224 pixels from the middle of pictures: so are these. Unlike there, no \
margin is cut off (its library keeps 88% of the side).'
    """
    made = {
        "crop": "from the middle of pictures",
        "squash": "squeezed into shape",
        "letterbox": "with bars beside",
    }
    said = f"{name} was trained on squares of {expected.size_px} pixels {made[expected.fit]}: so are these."
    unlike = []
    if expected.share < 0.995:
        unlike.append(f"no margin is cut off (its library keeps {expected.share:.0%} of the side)")
    if expected.resample != "bilinear":
        unlike.append(f"pictures are resized bilinearly (its library does {expected.resample})")
    return f"{said} Unlike there, {', and '.join(unlike)}." if unlike else said


def cautions(recipe: Recipe, dataset: str) -> Iterator[str]:
    """Return the recipe's caution about its own data, or else one about its backbone's pretraining."""
    if recipe.model.weights and recipe.data.splits:
        yield (
            "It goes on from what an earlier run learnt, and keeps that run's splits: pictures that were held out "
            "there are held out here."
        )
    elif recipe.model.weights:
        yield (
            "It started from given weights. If they were trained on this data with another split or seed, they know "
            "pictures that are held out here, and these numbers flatter the model."
        )
    if recipe.caution and recipe.is_for(dataset):
        yield " ".join(recipe.caution.split())
    elif recipe.model.name == "transfer":
        yield (
            "The backbone was trained on ImageNet's photographs from the web. If yours come from there too, it may "
            "have seen them, and these numbers flatter the model."
        )

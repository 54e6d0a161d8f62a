"""The network that a run begins with, and its way of training: `fit` for most, head first for one, by hand for one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from keensight.errors import RecipeError, shortlist, suggestion
from keensight.models.classifier import Classifier
from keensight.models.dense import ByHand
from keensight.models.features import OnProgress
from keensight.models.transfer import Transfer
from keensight.models.zoo import build
from keensight.robustness.attacks.table import ATTACKS
from keensight.robustness.bounds.network import nodes_of
from keensight.robustness.needs import BOUNDED, TWO_CLASSES, are_met, in_words
from keensight.training.byhand import check_by_hand, fit_by_hand
from keensight.training.checkpoint import load_weights
from keensight.training.head import fit_transfer
from keensight.training.loop import OnStep, Pauses, State, fit
from keensight.training.losses import LOSSES
from keensight.training.team import ALONE, Team
from keensight.values import Epoch, Preprocessing, Recipe, Splits


def fresh(recipe: Recipe, preprocessing: Preprocessing, class_names: Sequence[str]) -> Classifier:
    """Return the network that a run of `recipe` begins with.

    Raises RecipeError if it does not fit the pictures or the classes, RunError if the recipe's `weights` do not fit it.
    """
    model = build(recipe.model.name, recipe.model.options, preprocessing, len(class_names), recipe.seed)
    if recipe.model.weights:
        load_weights(Path(recipe.model.weights), model)
    check_fits(recipe, model, class_names)
    return model


def check_fits(recipe: Recipe, model: Classifier, class_names: Sequence[str]) -> None:
    """Raise RecipeError, before any work is done, if model or classes do not meet the needs of loss and attack."""
    num_classes = len(class_names)
    if (catch_all := recipe.data.catch_all) and catch_all not in class_names:
        raise RecipeError(
            f"catch_all is '{catch_all}', which is no class of the data. "
            f"{suggestion(catch_all, class_names)}Give one of {shortlist(list(class_names))}; or leave it out, and the "
            'answer for pictures unlike all others is "none of these".'
        )
    needs = LOSSES[recipe.train.loss].needs(recipe)
    if TWO_CLASSES in needs and num_classes != 2:
        raise RecipeError(
            f"The loss '{recipe.train.loss}' is for two classes, but the data has {num_classes}: "
            f'{shortlist(list(class_names))}. Choose two of them with classes = ["a", "b"] in the recipe, or use the '
            "loss 'cross-entropy'."
        )
    asked = [("loss", recipe.train.loss, needs)]
    if recipe.evaluate.attack_eps:
        asked.append(("attack", recipe.evaluate.attack, ATTACKS[recipe.evaluate.attack].needs))
    for what, name, needs in asked:
        if not are_met(needs, model, num_classes):
            fitting = "'strided'" if BOUNDED in needs else "'linear' for two classes"
            raise RecipeError(
                f"The {what} '{name}' is for {in_words(needs)}, and the model here is '{recipe.model.name}', of "
                f"{num_classes} classes. Use the model {fitting}, or another {what}."
            )
    if recipe.evaluate.certify_eps:
        nodes_of(model)  # which names a layer without bounds
    if isinstance(model.network, ByHand):
        check_by_hand(recipe)


def fit_best(
    state: State,
    splits: Splits,
    recipe: Recipe,
    on_step: OnStep | None = None,
    on_progress: OnProgress | None = None,
    is_enough: Callable[[Epoch], bool] = lambda _: False,
) -> None:
    """Train to the end in the network's own way, and leave the weights of the best epoch in the model.

    `is_enough` hears of each epoch, and says whether it was the last.
    """
    best = state.model.state_dict()
    for epoch in fit_any(state, splits, recipe, on_step, on_progress):
        if epoch.best:
            best = copy.deepcopy(state.model.state_dict())
        if is_enough(epoch):
            break
    state.model.load_state_dict(best)


def fit_any(
    state: State,
    splits: Splits,
    recipe: Recipe,
    on_step: OnStep | None = None,
    on_progress: OnProgress | None = None,
    *,
    team: Team = ALONE,
    pauses: Pauses | None = None,
) -> Iterator[Epoch]:
    """Train in the network's own way, and yield epochs as `fit` does."""
    if isinstance(state.model.network, Transfer):
        return fit_transfer(state, splits, recipe, on_step=on_step, on_progress=on_progress, team=team, pauses=pauses)
    if isinstance(state.model.network, ByHand):
        return fit_by_hand(state, splits, recipe, on_step)
    return fit(state, splits, recipe, on_step=on_step, team=team, pauses=pauses)

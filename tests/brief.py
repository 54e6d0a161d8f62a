"""What short runs of the tests leave out: each takes a fifth to a half of such a run, and has tests of its own.

Figures stay empty (tests/pages draws them), nothing is trained in folds (tests/evaluation does), and oddness is fitted
to little nonsense in few steps (tests/pipeline/test_odd.py has all of it).
"""

from keensight.data.nonsense import nonsense as all_nonsense

EMPTY = '<svg width="1pt" height="1pt"></svg>'


def no_figure(figure, file, **_):
    file.write(EMPTY)


def no_folds(*_):
    return None


def little_nonsense(kind, count, own_NHWC, seed):
    return all_nonsense(kind, min(count, 4), own_NHWC, seed)


WITH_ODDNESS = {
    "matplotlib.figure.Figure.savefig": no_figure,
    "keensight.pipeline.finish.cross_validate": no_folds,
}
CHANGES = WITH_ODDNESS | {
    "keensight.pipeline.finish.quick_robustness": no_folds,
    "keensight.pipeline.odd.nonsense": little_nonsense,
    "keensight.evaluation.oddness.nonsense": little_nonsense,
    "keensight.evaluation.oddness.STEPS": 20,
}

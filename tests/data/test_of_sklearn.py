import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from keensight.data.of_sklearn import digits_file, handwritten_digits, photographs


def test_pictures_are_those_that_scikit_learn_loads():
    digits = load_digits()
    images, labels = handwritten_digits()
    assert np.array_equal(images, digits.images) and np.array_equal(labels, digits.target)
    for ours, theirs in zip(photographs(), load_sample_images().images, strict=True):
        assert np.array_equal(ours, theirs)
    assert digits_file().is_file()

import numpy as np

from keensight.values import Split

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 3, 4, 2), np.uint8)
ROWS = RNG.permutation(50)[:20]
SPLIT = Split(IMAGES, ROWS, RNG.integers(0, 5, 20), tuple(f"{row}.png" for row in ROWS))


def test_members_are_gathered_in_the_order_asked_for():
    members = np.array([7, 0, 7, 19])
    for found, member in zip(SPLIT.gather(members), members, strict=True):
        np.testing.assert_array_equal(found, IMAGES[int(SPLIT.paths[member].removesuffix(".png"))])
    np.testing.assert_array_equal(SPLIT.gather(), [IMAGES[row] for row in ROWS])
    np.testing.assert_array_equal(SPLIT.gather(slice(15, 99)), [IMAGES[row] for row in ROWS[15:]])
    assert SPLIT.gather(np.array([], np.int64)).shape == (0, *SPLIT.shape) == (0, 3, 4, 2)


def test_a_part_knows_what_belongs_together():
    split = Split(IMAGES, ROWS, SPLIT.labels, SPLIT.paths, np.arange(20) // 2)
    assert split.take(np.array([3, 2, 9])).units.tolist() == [1, 1, 4]
    assert split.take(slice(4)).units.tolist() == [0, 0, 1, 1]
    assert SPLIT.take(slice(4)).units is None


def test_what_is_gathered_is_a_copy():
    SPLIT.gather()[:] = 0
    assert IMAGES.any()


def test_a_part_has_its_own_labels_and_paths():
    for members in (np.array([3, 11, 4]), slice(2, 9, 3), slice(18, 40), slice(0)):
        numbers = list(range(20))[members] if isinstance(members, slice) else members.tolist()
        part = SPLIT.take(members)
        assert len(part) == len(numbers)
        assert part.labels.tolist() == [SPLIT.labels[i] for i in numbers]
        assert part.paths == tuple(SPLIT.paths[i] for i in numbers)
        np.testing.assert_array_equal(part.gather(), SPLIT.gather(np.array(numbers, np.int64)))
        assert part.images is IMAGES


def test_batches_are_all_members_in_order():
    for size in (1, 7, 20, 64):
        batches = [SPLIT.labels[batch].tolist() for batch in SPLIT.batches(size)]
        assert [label for batch in batches for label in batch] == SPLIT.labels.tolist() and max(
            map(len, batches)
        ) <= size
    assert list(SPLIT.take(slice(0)).batches(8)) == []


def test_thinning_is_even():
    labels = np.repeat([0, 1], 500)  # as a folder lists them: class by class
    split = Split(np.zeros((1000, 1, 1, 1), np.uint8), np.arange(1000), labels, tuple(map(str, range(1000))))
    few = split.thinned(100)
    assert len(few) == 100 and few.labels.mean() == 0.5 and len(set(few.paths)) == 100
    assert [int(where) for where in few.paths] == few.rows.tolist()
    assert split.thinned(1000) is split

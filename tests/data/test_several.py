"""Several DATA as one."""

import pytest

from keensight.data.cache import decode
from keensight.data.sources import open_dataset, reader
from keensight.data.splits import split
from keensight.errors import DataError, UsageError
from keensight.values import Preprocessing


@pytest.fixture
def folders(tmp_path, png):
    """Two folders of one name, in which cats are in both, dogs and foxes in one each."""

    def write(where, classes):
        for k, label in enumerate(classes):
            for i in range(6):
                file = tmp_path / where / "pets" / label / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png(len(where) * 60 + 20 * k + i))
        return tmp_path / where / "pets"

    return write("a", ["cat", "dog"]), write("bb", ["cat", "fox"])


def test_labels_are_matched_by_name_and_paths_tell_the_data(folders):
    both = open_dataset(folders)
    assert both.class_names == ("cat", "dog", "fox") and both.name == "pets+pets"
    counts = {name: sum(both.class_names[s.label] == name for s in both.samples) for name in both.class_names}
    assert counts == {"cat": 12, "dog": 6, "fox": 6}
    assert {s.path.split("/")[0] for s in both.samples} == {"pets", "pets-2"}
    by_hand = [(folders[s.path.startswith("pets-2/")] / s.path.split("/", 1)[1]).read_bytes() for s in both.samples]
    with reader(both) as read:
        assert [read(sample) for sample in both.samples] == by_hand


def test_what_is_given_twice_is_refused_as_each_picture_would_count_twice(folders, monkeypatch, tmp_path):
    one, other = folders
    monkeypatch.chdir(one.parent)
    (tmp_path / "link").symlink_to(one)
    for again in (one, str(one), f"{one}/", "pets", "./pets", one / ".." / "pets", tmp_path / "link"):
        with pytest.raises(UsageError, match="was given twice, and each of its pictures would count twice"):
            open_dataset([one, other, again])
    with pytest.raises(UsageError, match="^digits was given twice"):
        open_dataset(["digits", "digits"])
    with pytest.raises(
        UsageError, match="lies in pets, which was given too, and each of its pictures would count twice"
    ):
        open_dataset([min(path for path in one.iterdir() if path.is_dir()), "pets"])
    for strange in ("a\0b", "pets/" + "x" * 300):
        with pytest.raises(DataError, match="does not exist"):
            open_dataset(["pets", strange])
    assert open_dataset(["digits", one]).name == "digits+pets"


def test_each_form_can_be_joined_with_each(folders, make_zip, pets, tmp_path, everything):
    archive = make_zip(tmp_path / "pets.zip", pets)
    both = open_dataset([archive, folders[1]])
    assert both.class_names == ("cat", "dog", "fox")
    assert {sample.split for sample in both.samples} == {"train", "val", None}
    assert set(pets.values()) <= set(everything(both))
    pixels = decode(open_dataset(["digits", archive]), Preprocessing(8, 8, 1))
    assert len(pixels.images) == 1797 + 12 and pixels.dataset.class_names[:2] == ("0", "1")


def test_one_class_alone_is_enough_beside_others(folders):
    cats = folders[1] / "fox"
    for file in cats.iterdir():
        file.unlink()
    cats.rmdir()
    assert open_dataset(folders).class_names == ("cat", "dog")
    with pytest.raises(DataError, match="only one class"):
        open_dataset(folders[1])


def test_classes_that_one_lacks_are_said(folders):
    splits = split(decode(open_dataset(folders), Preprocessing(4, 4, 1)))
    said = {f.evidence["part"]: f.evidence["lacks"] for f in splits.findings if "part" in f.evidence}
    assert said == {"pets": ["fox"], "pets-2": ["dog"]}


def test_no_data_is_refused():
    with pytest.raises(UsageError, match="No DATA"):
        open_dataset([])

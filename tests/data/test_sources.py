import os

import numpy as np
import pytest
from PIL import Image

from keensight.data.sources import open_dataset
from keensight.errors import DataError, UsageError


@pytest.fixture
def pets(tmp_path):
    for name in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "pets" / name / "1.png")
    return tmp_path / "pets"


def refusal(data, **options):
    with pytest.raises(DataError) as caught:
        open_dataset(data, **options)
    return str(caught.value)


def test_a_path_that_does_not_exist(pets):
    text = refusal(pets.parent / "pest")
    assert "pest does not exist; DATA may be a folder, a .zip/.tar.*, a .csv/.tsv/.jsonl manifest" in text
    assert "or one of digits, mnist, fashion-mnist" in text
    assert "Did you mean 'pets'?" in text


@pytest.mark.parametrize("data", ["MNIST", "mnst", "fashion_mnist", "Digits"])
def test_a_name_that_is_nearly_one(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"{data} does not exist" in refusal(data)
    assert "Did you mean '" in refusal(data)


@pytest.mark.parametrize("data", ["", "x" * 10_000, "a\0b", "http://example.org/pets.zip"])
def test_what_can_be_no_path(data):
    assert "does not exist" in refusal(data)


@pytest.mark.parametrize("name", ["cat.jpg", "pets.rar", "pets.zip.txt", "pets"])
def test_a_file_of_another_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert f"{name} is none of the accepted forms: DATA may be a folder" in refusal(tmp_path / name)


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pets.zip")
    assert "none of the accepted forms" in refusal(tmp_path / "pets.zip")


def test_a_bare_name_means_the_dataset_and_a_path_the_folder(pets, monkeypatch):
    pytest.importorskip("sklearn")
    pets.rename(pets.parent / "digits")
    monkeypatch.chdir(pets.parent)
    assert len(open_dataset("digits").samples) == 1797
    for data in (
        "./digits",
        "digits/",
        pets.parent / "digits",
        pets.parent.joinpath("digits").relative_to(pets.parent),
    ):
        assert len(open_dataset(data).samples) == 4


def test_one_class_only(pets):
    (pets / "train/dog/1.png").unlink()
    (pets / "val/dog/1.png").unlink()
    assert (
        "holds pictures of only one class ('cat'). A classifier needs two classes or more to tell apart; add"
        in refusal(pets)
    )


def test_a_class_that_training_lacks(pets):
    (pets / "val/dog").rename(pets / "val/Dogs")
    text = refusal(pets)
    assert "The val split of" in text
    assert (
        "has the unknown label Dogs: the train split has no such pictures (it has cat, dog). Did you mean 'dog'?"
        in text
    )


def test_a_class_that_validation_lacks(pets):
    (pets / "val/dog/1.png").unlink()
    assert open_dataset(pets).class_names == ("cat", "dog"), "which is noted where it is trained on"


def test_a_class_whose_pictures_are_all_empty_in_one_split(pets):
    (pets / "val/dog/1.png").write_bytes(b"")
    assert "The only picture of class 'dog' in the val split of" in refusal(pets)


def test_only_a_test_split_is_enough_to_evaluate_on(pets):
    (pets / "train").rename(pets / "test")
    for name in ("cat", "dog"):
        (pets / "val" / name / "1.png").unlink()
    assert {s.split for s in open_dataset(pets).samples} == {"test"}


def test_a_label_pattern_does_not_go_with_a_name():
    with pytest.raises(UsageError, match="digits has labels of its own"):
        open_dataset("digits", label_pattern="{label}")


def test_the_classes_of_a_model_to_be_measured(pets):
    known = ("owl", "dog", "cat")
    for name in ("train/dog", "val/dog"):
        (pets / name / "1.png").unlink()
    dataset = open_dataset(pets, class_names=known)  # one class only is fine here, and order comes from the model
    assert dataset.class_names == known
    assert [s.label for s in dataset.samples] == [2, 2]
    with pytest.raises(
        DataError, match=r"has the unknown label cat; the model knows owl, cats\. Did you mean 'cats'\?"
    ):
        open_dataset(pets, class_names=("owl", "cats"))

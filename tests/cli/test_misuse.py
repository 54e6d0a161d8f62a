import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "5"), "'epochs'. Write --set epochs=5;"),
        (("--epochs=5",), "'epochs'. Write --set epochs=5;"),
        (("--lr", "0.1"), "'learning_rate'. Write --set learning_rate=0.1;"),
        (("--batch-size", "8"), "'batch_size'. Write --set batch_size=8;"),
        (("--imgsz=64",), "'size'. Write --set size=64;"),
        (("--arch",), "'model'. Write --set model=VALUE;"),
        (("--device", "cuda"), "trains on a GPU by itself if torch finds one, by CUDA or Apple's MPS"),
        (("--name", "mine"), "Write --out runs/mine."),
        (("--nonsense", "1"), "Unknown option: --nonsense"),
        (("--about", "x"), "Unknown option: --about"),
    ],
)
def test_a_key_typed_as_an_option_is_answered_with_what_to_write(warm, words, said):
    done = warm("train", "digits", *words)
    assert done.status == 2 and said in done.paragraph(), done.err


def test_verbs_without_a_recipe_know_only_of_the_device(warm):
    done = warm("predict", "bundle", "picture.jpg", "--gpu")
    assert done.status == 2 and "There is no option --gpu" in done.paragraph()
    done = warm("evaluate", "bundle", "digits", "--batch-size", "3")
    assert done.status == 2 and "Unknown option: --batch-size" in done.paragraph()


@pytest.mark.parametrize("words", [("--out", ""), ("--out=",), ("--sort-into", "")])
def test_a_place_that_is_an_empty_text_is_not_the_current_folder(warm, tmp_path, words):
    done = warm("predict", "bundle", "picture.jpg", *words, cwd=tmp_path)
    assert done.status == 2 and f"{words[0].rstrip('=')} is an empty text. Give a path" in done.paragraph()
    assert not list(tmp_path.iterdir())

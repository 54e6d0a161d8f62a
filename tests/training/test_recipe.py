import pytest

from keensight.errors import RecipeError
from keensight.training.recipe import EXAMPLES, RANGES, changed, from_table, load_recipe, recipe_names, to_toml
from keensight.values import Recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name and len(recipe.about) > 50


def test_a_recipe_comes_back_from_toml(tmp_path):
    changes = ["hidden=[64,32]", "epochs=7", "rotate=30", "flip=true", 'fill="constant"', "name=we \"quote\" 'all' \\"]
    recipe = load_recipe("dense", changes, seed=3)
    (tmp_path / "mine.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "mine.toml")) == recipe
    assert recipe.options["hidden"] == (64, 32) and recipe.rotate == 30.0 and recipe.seed == 3


def test_a_file_takes_its_name(tmp_path):
    (tmp_path / "mine.toml").write_text('model = "logistic"')
    assert load_recipe(str(tmp_path / "mine.toml")) == Recipe(name="mine", model="logistic")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("defualt", [], r"no recipe 'defualt'. Did you mean 'default'\?"),
        ("nowhere/mine.toml", [], "no recipe file nowhere/mine.toml"),
        ("default", ["learning_rat=1"], r"no key 'learning_rat'. Did you mean 'learning_rate'\?"),
        (
            "default",
            ["hidden=[3]"],
            "'cnn' has no key 'hidden': it belongs to dense, scratch.*'cnn' has filters, dropout",
        ),
        ("logistic", ["init=zeros"], "it belongs to linear. Choose such a model, .*'logistic' has no keys"),
        ("default", ["hiden=[3]"], "A recipe has no key 'hiden'.*for the model 'cnn': filters, dropout"),
        ("default", ["model=cmn"], r"no model 'cmn'. Did you mean 'cnn'\?"),
        ("default", ["epochs"], "--set epochs has no value"),
        ("default", ["epochs=1.5"], "epochs is 1.5; it must be a whole number, such as 20"),
        ("default", ["size=big"], "size is 'big'; it must be a whole number, such as 64"),
        ("default", ["dropout=no"], "dropout is 'no'; it must be a number, such as 0.2"),
        ("default", ["classes=0.5"], r'classes is 0.5; it must be a list, such as \["cat", "dog"\]'),
        ("default", ["loss=3"], "loss is 3; it must be a name: cross-entropy or squared-error"),
        ("default", ["data=3"], r"data is 3; it must be a name\."),
        ("default", ["epochs=many"], "epochs is 'many'; it must be a whole number"),
        ("default", ["epochs=-1"], "epochs is -1; it must lie between 0 and"),
        ("default", ["learning_rate=nan"], "learning_rate is nan; it must lie between"),
        ("default", ["flip=1"], "flip is 1; it must be true or false"),
        ("default", ["fit=sqash"], r"fit is 'sqash'. Did you mean 'squash'\?"),
        ("default", ["channels=2"], "channels is '2'.*It can be 0, 1, 3"),
        ("default", ["dropout=1.0"], "dropout is 1; it must be 0 or more"),
        ("default", ["filters=0"], "filters is 0; it must lie between 1"),
        ("dense", ["hidden=[0]"], r"hidden is \[0\]; whole numbers from 1"),
        ("dense", ["hidden=x"], r"hidden is 'x'; it must be a list, such as \[512\]"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name, changes, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(name, changes)


def test_a_file_that_is_not_toml(tmp_path):
    (tmp_path / "mine.toml").write_text("model = cnn")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_file_is_named_where_it_is_to_blame(tmp_path):
    file = tmp_path / "mine.toml"
    for content, words in (
        ("learning_rat = 1", "no key 'learning_rat'"),
        ("hidden = [8]", "'cnn' has no key 'hidden'"),
        ("epochs = -1", "epochs is -1"),
    ):
        file.write_text(content)
        with pytest.raises(RecipeError) as refusal:
            load_recipe(str(file))
        assert str(refusal.value).startswith(f"In {file}: ") and words in str(refusal.value)
    assert load_recipe(str(file), ["epochs=1"]).epochs == 1
    file.write_text("epochs = 3")
    with pytest.raises(RecipeError, match=r"^epochs is -1"):
        load_recipe(str(file), ["epochs=-1"])


def test_examples_in_messages_are_accepted():
    model = {"dropout": "cnn", "backbone_rate": "transfer"}
    for key, value in EXAMPLES.items():
        from_table({"model": model.get(key, "cnn"), key: value})


def test_weights_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('weights = "old/w.safetensors"')
    monkeypatch.chdir(tmp_path)
    assert load_recipe("mine.toml").weights == str(tmp_path / "old" / "w.safetensors")
    assert load_recipe("default", ["weights=w.safetensors"]).weights == str(tmp_path / "w.safetensors")
    assert load_recipe("default").weights == ""


def test_what_is_changed_makes_the_same_recipe(tmp_path):
    for name in recipe_names():
        recipe = load_recipe(name)
        (tmp_path / "short.toml").write_text(to_toml(recipe, {"name", *changed(recipe)}))
        again = load_recipe(str(tmp_path / "short.toml"))
        assert changed(again) == changed(recipe)
        assert "" not in changed(recipe).values()


def test_the_ranges_speak_of_real_keys_and_allow_the_defaults():
    for key, (low, high) in RANGES.items():
        assert low <= getattr(Recipe(), key) <= high
    assert from_table({}) == Recipe()

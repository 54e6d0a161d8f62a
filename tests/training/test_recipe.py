import pytest

from keensight.errors import RecipeError, UsageError
from keensight.models.zoo import MODELS, options_of
from keensight.training.recipe import changed, from_table, keys_of, load_recipe, recipe_names, to_toml
from keensight.values import Recipe
from keensight.values.recipe import (
    KEYS,
    AugmentSettings,
    DataSettings,
    EvaluateSettings,
    ModelSettings,
    TrainSettings,
)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name and len(recipe.about) > 50


def test_a_recipe_comes_back_from_toml(tmp_path):
    changes = ["hidden=[64,32]", "epochs=7", "rotate=30", "flip=true", 'fill="constant"', "name=we \"quote\" 'all' \\"]
    recipe = load_recipe("dense", changes, seed=3)
    (tmp_path / "mine.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "mine.toml")) == recipe
    assert recipe.model.options["hidden"] == (64, 32) and recipe.augment.rotate == 30.0 and recipe.seed == 3


def test_a_file_takes_its_name(tmp_path):
    (tmp_path / "mine.toml").write_text('model = "logistic"')
    assert load_recipe(str(tmp_path / "mine.toml")) == Recipe().having(name="mine", model="logistic")


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
        ("logistic", ["init=zeros"], "it belongs to linear, strided. Choose such a model, .*'logistic' has no keys"),
        ("default", ["hiden=[3]"], "A recipe has no key 'hiden'.*In addition, the model 'cnn' has filters, dropout"),
        ("default", ["train.epoch=3"], "no key 'train.epoch'. Did you mean 'epochs'"),
        ("default", ["train.flip=true"], "no key 'train.flip'. Did you mean 'flip'"),
        ("default", ["lr=0.1"], r"no key 'lr'. Did you mean 'learning_rate'\?"),
        ("default", ["bs=8"], r"no key 'bs'. Did you mean 'batch_size'\?"),
        ("default", ["imgsz=8"], r"no key 'imgsz'. Did you mean 'size'\?"),
        ("default", ["test_size=0.3"], r"no key 'test_size'. Did you mean 'test_fraction'\?"),
        ("default", ["architecture=resnet18"], r"no key 'architecture'. Did you mean 'model'\?"),
        ("default", ["num_workers=4"], "keensight uses all cores that it may"),
        (
            "default",
            ["augment=true"],
            "each change of the pictures has its own, such as flip=true or rotate=15. There are",
        ),
        ("default", ["device=cuda"], "keensight trains on a GPU by itself"),
        ("default", ["shape=[28,28]"], r"shape is \[28, 28\]; .* such as \[28, 28, 1\]"),
        ("default", ["attack_eps=[2]"], "eps.* 2.*1"),
        ("default", ["model=cmn"], r"no model 'cmn'. Did you mean 'cnn'\?"),
        ("default", ["epochs"], "--set epochs has no value"),
        ("default", ["=3"], "--set =3 has no key"),
        ("default", ["nonsense=1"], r"no key 'nonsense'\. Its keys are"),
        ("default", ["loss=magic"], "robust-hinge, intervals, intervals-attacked, fast, trades"),
        ("default", ["loss=fast"], "eps, which is 0 here.*Set eps, such as --set eps=0.1"),
        ("default", ["eps=0.1"], "'cross-entropy' takes no notice of it.*robust-hinge, intervals"),
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
        ("default", ["dropout=1.0"], "dropout is 1; it must lie between 0 and 0.999"),
        ("default", ["filters=0"], "filters is 0; it must lie between 1"),
        ("default", ["eps=8"], "eps is 8; it must lie between 0 and 1. For 8 levels of 255, give 0.03137"),
        (
            "default",
            ["attack_eps=[4]"],
            "attack_eps is 4; it must lie between 0 and 1.*For 4 levels of 255, give 0.01569",
        ),
        ("dense", ["hidden=[0]"], r"hidden is \[0\]; whole numbers from 1"),
        ("dense", ["hidden=x"], r"hidden is 'x'; it must be a list, such as \[512\]"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name, changes, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(name, changes)


def test_epsilons_may_be_fractions():
    recipe = load_recipe("digits-certified", ["eps=8/255", "certify_eps=[4/255, 0.1]"])
    assert recipe.train.eps == 8 / 255 and recipe.evaluate.certify_eps == (4 / 255, 0.1)


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
    assert load_recipe(str(file), ["epochs=1"]).train.epochs == 1
    file.write_text("epochs = 3")
    with pytest.raises(RecipeError, match=r"^epochs is -1"):
        load_recipe(str(file), ["epochs=-1"])


def test_examples_in_messages_are_accepted():
    for model in MODELS:
        for name, key in keys_of(model).items():
            if key.example is not None:
                from_table({"model": model, name: key.example})


@pytest.mark.parametrize("model", MODELS)
def test_ranges_and_choices_allow_the_defaults_and_no_name_is_used_twice(model):
    assert from_table({"model": model, **options_of(model)}) == Recipe().having(model=model, **options_of(model))
    assert from_table(Recipe().having(model=model).table()) == Recipe().having(model=model)
    assert not set(options_of(model)) & set(KEYS), "--set finds a key by its name"
    assert not set(options_of(model)) & {key.field for key in KEYS.values()}


def test_what_other_tools_call_a_key_is_no_key_and_belongs_to_one():
    names = [name for key in KEYS.values() for name in key.also]
    assert len(names) == len(set(names)) and not set(names) & (set(KEYS) | {o for m in MODELS for o in options_of(m)})


OLD = """
data = "digits"
model = "dense"
hidden = [64]
epochs = 7
rotate = 30
attack_eps = [0.1]
"""
NEW = """
[data]
source = "digits"
[model]
name = "dense"
hidden = [64]
[train]
epochs = 7
[augment]
rotate = 30
[evaluate]
attack_eps = [0.1]
"""


def test_flat_recipes_of_old_are_read_as_nested_ones(tmp_path):
    recipe = Recipe(
        "mine", data=DataSettings("digits"), model=ModelSettings("dense", {"hidden": (64,)}),
        train=TrainSettings(epochs=7), augment=AugmentSettings(rotate=30.0),
        evaluate=EvaluateSettings(attack_eps=(0.1,)),
    )  # fmt: skip
    for text in (OLD, NEW):
        (tmp_path / "mine.toml").write_text(text)
        assert load_recipe(str(tmp_path / "mine.toml")) == recipe
    old = recipe.flat() | {"options": {"hidden": [64]}}  # as bundles of format 1 have it
    del old["hidden"]
    assert from_table(old) == from_table(recipe.flat()) == from_table(recipe.table()) == recipe


def test_keys_are_set_by_name_or_by_table_and_name():
    by_name = load_recipe("default", ["model=dense", "data=digits", "hidden=[8]", "epochs=3", "flip=true", "name=x"])
    paths = [
        "model.name=dense",
        "data.source=digits",
        "model.hidden=[8]",
        "train.epochs=3",
        "augment.flip=true",
        "name=x",
    ]
    assert load_recipe("default", paths) == by_name
    assert load_recipe("default", ["source=digits"]).data.source == "digits"
    assert load_recipe("default", ["epochs=3", "train.epochs=4"]).train.epochs == 4, "the last one counts"


def test_a_key_that_stands_twice_in_a_file_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = 3\n[train]\nepochs = 4")
    with pytest.raises(RecipeError, match="The key 'epochs' is given twice"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_weights_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('weights = "old/w.safetensors"')
    monkeypatch.chdir(tmp_path)
    assert load_recipe("mine.toml").model.weights == str(tmp_path / "old" / "w.safetensors")
    assert load_recipe("default", ["weights=w.safetensors"]).model.weights == str(tmp_path / "w.safetensors")
    assert load_recipe("default").model.weights == ""


def test_what_is_changed_makes_the_same_recipe(tmp_path):
    for name in recipe_names():
        recipe = load_recipe(name)
        (tmp_path / "short.toml").write_text(to_toml(recipe, {"name", *changed(recipe)}))
        again = load_recipe(str(tmp_path / "short.toml"))
        assert changed(again) == changed(recipe)
        assert "" not in changed(recipe).values()


@pytest.mark.parametrize(
    ("name", "changes", "seed", "message"),
    [
        (5, (), None, "recipe is 5"),
        ("default", [3], None, r"set is \[3\]\. Give a list of texts KEY=VALUE"),
        ("default", {"epochs": -2}, None, r"set is \{'epochs': -2\}\. Give a list"),
        ("default", None, None, "set is None"),
        ("default", ["seed=1"], 2, "--set seed=1 and --seed 2 were given"),
    ],
)
def test_what_is_no_recipe_and_no_change_of_one(name, changes, seed, message):
    with pytest.raises(UsageError, match=message):
        load_recipe(name, changes, seed)


def test_the_same_seed_twice_is_no_contradiction():
    assert load_recipe("default", ["seed=2"], 2).seed == 2

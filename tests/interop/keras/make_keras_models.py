"""Make real Keras files for tests/interop/keras, and what Keras answers: run in .venv-keras, not in .venv.

    KERAS_BACKEND=torch .venv-keras/bin/python tests/interop/keras/make_keras_models.py FOLDER [NAME...]

For each model: NAME.keras, NAME.h5, and NAME.npz with `images` (uint8, as Keras has them) and `answers`. The tests read
the tables below without Keras: every builder gets it as an argument.
"""

import itertools
import sys
from pathlib import Path

import numpy as np

CONVOLUTIONS = [
    {"kernel_size": kernel, "padding": padding, **more}
    for kernel, padding, more in itertools.product(
        (1, 2, 3, (3, 4)),
        ("valid", "same"),
        ({}, {"strides": 2}, {"strides": (3, 2)}, {"dilation_rate": 2}, {"groups": 3, "use_bias": False}),
    )
]
POOLINGS = [
    {"pool_size": pool, "padding": padding, "strides": strides}
    for pool, padding, strides in itertools.product((2, 3, (3, 2)), ("valid", "same"), (None, 1, 2, (3, 2)))
]
ACTIVATIONS = (
    "relu", "relu6", "sigmoid", "tanh", "elu", "selu", "gelu", "softplus", "silu", "swish", "hard_sigmoid",
    "leaky_relu", "linear", "softmax",
)  # fmt: skip
AUGMENTATIONS = {
    "RandomInvert": {},
    "RandomElasticTransform": {},
    "RandAugment": {},
    "AugMix": {},
    "MixUp": {},
    "CutMix": {},
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomContrast": {"factor": 0.5},
    "GaussianNoise": {"stddev": 1.0},
    "GaussianDropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "ActivityRegularization": {"l2": 0.1},
    "Identity": {},
}


def husky(k):
    L = k.layers
    return [
        L.Input((128, 128, 3)),
        L.Conv2D(32, (3, 3), activation="relu"), L.MaxPooling2D(2, 2), L.Dropout(0.4),
        L.Conv2D(64, (3, 3), activation="relu"), L.MaxPooling2D(2, 2), L.Dropout(0.4),
        L.Conv2D(128, (3, 3), activation="relu"), L.MaxPooling2D(2, 2), L.Dropout(0.4),
        L.Flatten(), L.Dense(128, activation="relu"), L.Dense(1, activation="sigmoid"),
    ]  # fmt: skip


def fashion(k):
    L = k.layers
    return [
        L.Input((28, 28, 1)), L.Rescaling(1.0 / 255), L.Conv2D(16, (3, 3), activation="relu"),
        L.Conv2D(64, (3, 3), activation="relu"), L.MaxPooling2D((3, 3), strides=2), L.Flatten(),
        L.Dense(64, activation="relu"), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax"),
    ]  # fmt: skip


def planes(k):
    L = k.layers
    return [
        L.Input((20, 20, 3)), L.Conv2D(32, 5, padding="same", activation="relu"), L.MaxPooling2D(),
        L.Conv2D(64, 5, padding="same", activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dropout(0.5),
        L.Dense(2, activation="softmax"),
    ]  # fmt: skip


def between(*layers, size=(9, 10, 3), head=True):
    """A model around layers: `layers` maps keras to a list."""

    def build(k):
        L = k.layers
        made = [L.Input(size), *(layer for make in layers for layer in make(k.layers))]
        return [*made, L.Flatten(), L.Dense(3, activation="softmax")] if head else made

    return build


def one(name, size=(9, 10, 3), **options):
    return between(lambda L: [getattr(L, name)(**options)], size=size)


def nested(k):
    L = k.layers
    inner = k.Sequential([L.Conv2D(4, 3, strides=2, padding="same"), L.BatchNormalization(), L.ReLU()], name="block")
    augment = k.Sequential([L.RandomFlip(), k.Sequential([L.RandomZoom(0.1)])], name="augment")
    other = k.Sequential([L.Conv2D(5, 2), L.PReLU(shared_axes=[1, 2])], name="other")
    return [L.Input((11, 12, 3)), augment, inner, L.Conv2D(6, 3), other, L.Flatten(), L.Dense(4, activation="softmax")]


def functional(k):
    L = k.layers
    x = inputs = L.Input((8, 9, 3))
    for layer in (L.Conv2D(4, 3), L.BatchNormalization(), L.Activation("relu"), L.GlobalAveragePooling2D()):
        x = layer(x)
    return k.Model(inputs, L.Dense(3, activation="softmax")(L.Dropout(0.3)(x)))


def adapted(k):
    layer = k.layers.Normalization()
    layer.adapt(np.random.default_rng(5).integers(0, 256, (40, 8, 8, 3)).astype("float32"))
    return [k.layers.Input((8, 8, 3)), layer, k.layers.Flatten(), k.layers.Dense(3, activation="softmax")]


def keras_of(layers):
    return sys.modules[layers.__name__.partition(".")[0]]


def from_one(build, size=(9, 10, 3)):
    """A functional model: `build` gets keras' layers and the input, and returns what goes into the head."""

    def make(k):
        inputs = k.layers.Input(size)
        x = build(k.layers, inputs)
        return k.Model(inputs, k.layers.Dense(3, activation="softmax")(k.layers.Flatten()(x)))

    return make


def joint(name, **options):
    return from_one(lambda L, x: getattr(L, name)(**options)([L.Conv2D(4, 3)(x), L.Conv2D(4, 3, activation="relu")(x)]))


def squeezed(L, x):
    """Squeeze and excitation, as EfficientNet and MobileNetV3 have it."""
    x = L.Conv2D(6, 3, activation="swish")(x)
    weights = L.Reshape((1, 1, 6))(L.GlobalAveragePooling2D()(x))
    weights = L.Conv2D(6, 1, activation="sigmoid")(L.Conv2D(2, 1, activation="relu")(weights))
    return L.Multiply()([x, weights])


def used_twice(L, x):
    conv, bend = L.Conv2D(3, 3, padding="same"), L.ReLU()
    return L.Add()([bend(conv(bend(conv(x)))), x])


def in_models(k):
    """Models within models, one used twice, and layers of one name in two of them."""
    L = k.layers
    inner = k.Input((9, 10, 3))
    inner = k.Model(inner, L.Add(name="end")([L.Conv2D(3, 1, name="conv")(inner), inner]), name="inner")
    other = k.Sequential([L.Conv2D(5, 3, name="conv"), L.BatchNormalization()], name="other")
    inputs = L.Input((9, 10, 3))
    x = L.Concatenate()([inner(inner(inputs)), inputs])
    x = L.GlobalAveragePooling2D()(other(x, training=False))
    return k.Model(inputs, L.Dense(3, activation="softmax")(x))


def ensemble(k):
    L, inputs = k.layers, k.Input((9, 10, 3))
    ends = [L.Dense(3, activation="softmax")(L.Flatten()(L.Conv2D(4, i)(inputs))) for i in (2, 3)]
    return k.Model(inputs, L.Average()(ends))


def teachable(k):
    """As Teachable Machine makes it: a Sequential around a functional MobileNet, and a Sequential head."""
    L = k.layers
    base = k.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    trunk = k.Sequential([base, L.GlobalAveragePooling2D()], name="sequential_1")
    head = k.Sequential(
        [L.Dense(8, activation="relu", name="dense_Dense1"),
         L.Dense(2, activation="softmax", use_bias=False, name="dense_Dense2")], name="sequential_3"
    )  # fmt: skip
    return k.Sequential([k.Input((32, 32, 3)), trunk, head])


def application(name, size, **options):
    return lambda k: getattr(k.applications, name)(input_shape=(size, size, 3), weights=None, classes=4, **options)


APPLICATIONS = {  # at small sizes; of each kind the smallest
    "MobileNet": application("MobileNet", 32, alpha=0.25),
    "MobileNetV2": application("MobileNetV2", 32, alpha=0.35),
    "MobileNetV3Small": application("MobileNetV3Small", 32),
    "MobileNetV3Large": application("MobileNetV3Large", 32, alpha=0.75, minimalistic=True),
    "EfficientNetB0": application("EfficientNetB0", 32),
    "EfficientNetV2B0": application("EfficientNetV2B0", 32),
    "ResNet50": application("ResNet50", 32),
    "ResNet50V2": application("ResNet50V2", 32),
    "DenseNet121": application("DenseNet121", 32),
    "Xception": application("Xception", 71),
    "InceptionV3": application("InceptionV3", 75),
    "InceptionResNetV2": application("InceptionResNetV2", 75),
    "VGG16": application("VGG16", 32),
    "ConvNeXtTiny": application("ConvNeXtTiny", 32),
}
TRICKY = (
    "softsign",
    "exponential",
    "hard_silu",
    "hard_swish",
    "mish",
    "celu",
    "log_sigmoid",
    "hard_tanh",
    "tanh_shrink",
)
MODELS = {
    **{
        name.lower(): joint(name)
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    },
    "concatenate-rows": joint("Concatenate", axis=1),
    "concatenate-columns": joint("Concatenate", axis=2),
    "concatenate-vectors": from_one(lambda L, x: L.Concatenate()([L.Flatten()(L.Conv2D(4, 3)(x)), L.Flatten()(x)])),
    "add-vectors": from_one(lambda L, x: L.Add()([L.Flatten()(L.Conv2D(4, 3)(x)), L.Flatten()(L.Conv2D(4, 3)(x))])),
    "add-to-vector": from_one(
        lambda L, x: L.Add()([L.Flatten()(L.Conv2D(4, 3)(x)), L.Dense(224)(L.GlobalMaxPooling2D()(x))])
    ),
    "multiply-by-vector": from_one(
        lambda L, x: L.Multiply()([L.Conv2D(4, 3)(x), L.Dense(4)(L.GlobalMaxPooling2D()(x))])
    ),
    "three-ways": from_one(lambda L, x: L.Average()([L.Conv2D(4, 3)(x) for _ in range(3)])),
    "squeezed": from_one(squeezed),
    "used-twice": from_one(used_twice),
    "in-models": in_models,
    "ensemble": ensemble,
    "arithmetic": from_one(lambda L, x: (1 - L.Conv2D(4, 3)(x / 255.0)) * 0.5 + -L.Conv2D(4, 3)(x / 127.5 - 1.0) / 3),
    "operations": from_one(lambda L, x: (L.Conv2D(4, 3)(x) - L.Conv2D(4, 3)(x)) * L.Conv2D(4, 3)(x)),
    "scaled-in-branches": from_one(
        lambda L, x: L.Concatenate()(
            [L.Rescaling(1 / 255)(x), L.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 4000.0, 5000.0])(x)]
        )
    ),
    "caffe-inside": from_one(lambda L, x: L.Conv2D(4, 3)(keras_of(L).applications.resnet50.preprocess_input(x) / 64)),
    "torch-inside": from_one(lambda L, x: L.Conv2D(4, 3)(keras_of(L).applications.densenet.preprocess_input(x))),
    "called-in-training": from_one(lambda L, x: L.Dropout(0.5, name="always")(x, training=True)),
    "teachable": teachable,
    "resized": from_one(lambda L, x: L.Conv2D(4, 3)(L.Rescaling(1 / 255)(L.Resizing(7, 13)(x)))),
    "resized-nearest": one("Resizing", height=5, width=17, interpolation="nearest"),
    "upsampled": between(lambda L: [L.UpSampling2D(2)]),
    "upsampled-bilinear": between(lambda L: [L.UpSampling2D((2, 3), interpolation="bilinear")]),
    "cropped": one("Cropping2D", cropping=((1, 2), (0, 3))),
    "cropped-centre": one("CenterCrop", height=6, width=5),
    "permuted": between(lambda L: [L.Conv2D(4, 3), L.Permute((2, 3, 1)), L.Conv2D(3, 2)]),
    "reshaped": between(lambda L: [L.Conv2D(4, 3), L.Reshape((8, 7, 4)), L.Conv2D(3, 2)]),
    "reshaped-vector": between(lambda L: [L.Flatten(), L.Dense(24), L.Reshape((2, 3, 4)), L.Conv2D(3, 2)]),
    "reshaped-flat": between(lambda L: [L.Conv2D(4, 3), L.Flatten(), L.Reshape((8, 7, 4)), L.Conv2D(3, 2)]),
    "group-norm": between(lambda L: [L.Conv2D(6, 3), L.GroupNormalization(3)]),
    "group-norm-bare": between(lambda L: [L.Conv2D(6, 3), L.GroupNormalization(-1, center=False, scale=False)]),
    "group-norm-vector": between(lambda L: [L.Conv2D(6, 3), L.Flatten(), L.GroupNormalization(4)]),
    "relu-threshold": between(lambda L: [L.Conv2D(4, 3), L.ReLU(threshold=0.2)]),
    "relu-everything": between(lambda L: [L.Conv2D(4, 3), L.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.1)]),
    **{f"dense-{name}": between(lambda L, name=name: [L.Flatten(), L.Dense(12, activation=name)]) for name in TRICKY},
    "log-softmax": between(lambda L: [L.Flatten(), L.Dense(3, activation="log_softmax")], head=False),
    "several-sigmoids": lambda k: _compiled(k, "sparse_categorical_crossentropy"),
    "husky": husky,
    "fashion": fashion,
    "planes": planes,
    "nested": nested,
    "functional": functional,
    "adapted": adapted,
    **{f"conv{i}": one("Conv2D", filters=6, **each) for i, each in enumerate(CONVOLUTIONS)},
    **{
        f"depthwise{i}": one("DepthwiseConv2D", depth_multiplier=2, **each)
        for i, each in enumerate(CONVOLUTIONS)
        if "groups" not in each and isinstance(each["kernel_size"], int) and not isinstance(each.get("strides"), tuple)
    },
    **{
        f"separable{i}": one("SeparableConv2D", filters=5, depth_multiplier=2, **each)
        for i, each in enumerate(CONVOLUTIONS)
        if "groups" not in each and isinstance(each["kernel_size"], int) and not isinstance(each.get("strides"), tuple)
    },
    **{f"max{i}": one("MaxPooling2D", **each) for i, each in enumerate(POOLINGS)},
    **{f"average{i}": one("AveragePooling2D", **each) for i, each in enumerate(POOLINGS) if each["padding"] == "valid"},
    # torch pads alike on both sides, and Keras on torch lets what it adds behind count: only such sizes are to compare
    "average-same": one("AveragePooling2D", pool_size=3, strides=1, padding="same"),
    "average-same-strided": one("AveragePooling2D", size=(9, 9, 3), pool_size=3, strides=2, padding="same"),
    **{
        f"dense-{name}": between(lambda L, name=name: [L.Flatten(), L.Dense(12, activation=name)])
        for name in ACTIVATIONS
    },
    **{f"activation-{name}": one("Activation", activation=name) for name in ACTIVATIONS},
    **{f"identity-{name}": one(name, **options) for name, options in AUGMENTATIONS.items()},
    "relu": one("ReLU"),
    "relu-capped": between(lambda L: [L.Conv2D(4, 3), L.ReLU(max_value=0.25)]),
    "relu-sloped": between(lambda L: [L.Conv2D(4, 3), L.ReLU(negative_slope=0.1)]),
    "leaky": between(lambda L: [L.Conv2D(4, 3), L.LeakyReLU(negative_slope=0.2)]),
    "leaky-inside": between(lambda L: [L.Conv2D(4, 3, activation=L.LeakyReLU(negative_slope=0.15))]),
    "elu": between(lambda L: [L.Conv2D(4, 3), L.ELU(alpha=0.7)]),
    "prelu": between(lambda L: [L.Conv2D(4, 3), L.PReLU()]),
    "prelu-vector": between(lambda L: [L.Conv2D(4, 3), L.Flatten(), L.PReLU()]),
    "batch-norm": between(lambda L: [L.Conv2D(4, 3), L.ReLU(), L.BatchNormalization()]),
    "batch-norm-bare": between(lambda L: [L.Conv2D(4, 3), L.BatchNormalization(center=False, scale=False)]),
    "batch-norm-first": one("BatchNormalization", epsilon=0.01),
    "batch-norm-frozen": between(lambda L: [L.BatchNormalization(trainable=False, scale=False)]),
    "batch-norm-vector": between(lambda L: [L.Conv2D(4, 3), L.Flatten(), L.BatchNormalization()]),
    "layer-norm": between(lambda L: [L.Conv2D(4, 3), L.LayerNormalization()]),
    "layer-norm-vector": between(lambda L: [L.Conv2D(4, 3), L.Flatten(), L.LayerNormalization(center=False)]),
    "zero-padding": between(lambda L: [L.ZeroPadding2D(((1, 2), (0, 3))), L.Conv2D(4, 3)]),
    "zero-padding-pair": between(lambda L: [L.ZeroPadding2D((2, 1)), L.Conv2D(4, 3)]),
    "global-average": between(
        lambda L: [L.Conv2D(8, 3), L.GlobalAveragePooling2D(), L.Dense(3), L.Softmax()], head=False
    ),
    "global-max-kept": between(lambda L: [L.Conv2D(8, 3), L.GlobalMaxPooling2D(keepdims=True)]),
    "only-convolutions": between(
        lambda L: [L.Conv2D(3, 3), L.GlobalAveragePooling2D(), L.Activation("softmax")], head=False
    ),
    "dense-everywhere": between(lambda L: [L.Dense(5, activation="relu")]),
    "dropped-after-flatten": between(lambda L: [L.Flatten(), L.Dropout(0.5), L.Dense(8), L.Dropout(0.5)]),
    "no-channel-axis": between(lambda L: [L.Flatten(), L.Dense(8, activation="relu")], size=(12, 11)),
    "channel-axis-added": between(
        lambda L: [L.Rescaling(1 / 255), L.Reshape((12, 11, 1)), L.Conv2D(4, 3)], size=(12, 11)
    ),
    "channel-axis-guessed": between(lambda L: [L.Reshape((12, -1, 1)), L.Conv2D(4, 3)], size=(12, 11)),
    "in-a-row": between(lambda L: [L.Dense(16, activation="relu")], size=(49,)),
    "in-a-row-colour": between(lambda L: [L.Rescaling(1 / 255), L.Dense(16, activation="relu")], size=(75,)),
    "row-to-picture": between(lambda L: [L.Reshape((4, 6, 3)), L.Conv2D(4, 2, padding="same")], size=(72,)),
    "flattened-by-reshape": between(lambda L: [L.Conv2D(4, 3), L.Reshape((-1,))]),
    "rescaled-to-both-sides": one("Rescaling", scale=1 / 127.5, offset=-1.0),
    "rescaled-later": between(lambda L: [L.Conv2D(4, 3), L.Rescaling([0.5, 1.5, 2.0, 1.0], offset=0.3)]),
    "rescaled-flat": between(lambda L: [L.Conv2D(4, 3), L.Flatten(), L.Rescaling(0.5)]),
    "normalised": one("Normalization", mean=[120.0, 110.0, 100.0], variance=[3600.0, 4000.0, 5000.0]),
    "normalised-later": between(lambda L: [L.Conv2D(2, 3), L.Normalization(mean=0.2, variance=0.5)]),
    "logits": between(lambda L: [L.Flatten(), L.Dense(4)], head=False),
    "one-logit": between(lambda L: [L.Flatten(), L.Dense(1)], head=False),
    "one-cell": between(lambda L: [L.Flatten(), L.Dense(1), L.Activation("sigmoid")], head=False),
    "float64": one("Conv2D", filters=4, kernel_size=3, dtype="float64"),
}
FROM_BYTES = {  # models for pixels of 0 to 255; the others are for 0 to 1
    "arithmetic", "scaled-in-branches", "caffe-inside", "torch-inside", "resized", "fashion", "channel-axis-added",
    "in-a-row-colour", "rescaled-to-both-sides", "normalised", "adapted",
}  # fmt: skip


FROM_BOTH_SIDES = {"teachable"}  # for pixels of -1 to 1


def _compiled(k, loss):
    L = k.layers
    model = k.Sequential([L.Input((8, 8, 3)), L.Flatten(), L.Dense(3, activation="sigmoid")])
    model.compile("sgd", loss)
    return model


def _two_outputs(k):
    L, inputs = k.layers, k.Input((8, 8, 3))
    coarse = L.Dense(3, activation="softmax", name="coarse")(L.Flatten()(inputs))
    return k.Model(inputs, [coarse, L.Dense(3, activation="softmax", name="fine")(coarse)])


def _two_inputs(k):
    L, inputs = k.layers, [k.Input((4,), name=name) for name in ("left", "right")]
    return k.Model(inputs, L.Dense(3, activation="softmax")(L.Add()(inputs)))


def _with_lora(k):
    model = k.Sequential([k.layers.Input((8, 8, 3)), k.layers.Flatten(), k.layers.Dense(3, activation="softmax")])
    model.layers[-1].enable_lora(2)
    return model


def _end(k):
    return [k.layers.Flatten(), k.layers.Dense(3, activation="softmax")]


def _twice(x):
    return 2 * x


def _custom(k):
    @k.saving.register_keras_serializable(package="Sly")
    class Mine(k.layers.Layer):
        def call(self, x):
            return x

    return Mine(name="mine")


REFUSED = {
    "lambda": lambda k: [k.layers.Input((8, 8, 3)), k.layers.Lambda(lambda x: x, name="sly"), *_end(k)],
    "custom": lambda k: [k.layers.Input((8, 8, 3)), _custom(k), *_end(k)],
    "own-activation": lambda k: [k.layers.Input((8, 8, 3)), k.layers.Dense(4, activation=_twice), *_end(k)],
    "two-outputs": _two_outputs,
    "two-inputs": _two_inputs,
    "channels-first": lambda k: [
        k.layers.Input((3, 8, 8)), k.layers.Conv2D(4, 3, data_format="channels_first"), *_end(k)
    ],
    "multi-label": lambda k: [k.layers.Input((8, 8, 3)), k.layers.Flatten(), k.layers.Dense(3, activation="sigmoid")],
    "multi-label-said": lambda k: _compiled(k, "binary_crossentropy"),
    "any-size": lambda k: [
        k.layers.Input((None, None, 3)), k.layers.Conv2D(4, 3), k.layers.GlobalMaxPooling2D(), *_end(k)
    ],
    "upsampling": lambda k: [
        k.layers.Input((8, 8, 3)), k.layers.UpSampling2D(2, interpolation="bicubic", name="larger"), *_end(k)
    ],
    "lora": _with_lora,  # which .keras merges
    "four-channels": lambda k: [k.layers.Input((8, 8, 4)), *_end(k)],
    "regression": lambda k: [k.layers.Input((8, 8, 3)), k.layers.Conv2D(4, 3)],
}  # fmt: skip


def randomise(model, rng):
    """Give every weight a value that would show if it were taken for another."""
    for variable in model.variables:
        name, shape = variable.path.split("/")[-1], tuple(variable.shape)
        if name in ("mean", "variance", "count") or "seed" in name:
            continue
        if "kernel" in name:
            fan_in = max(1, int(np.prod(shape[:-1]))) if shape[-1] > 1 or len(shape) < 4 else int(np.prod(shape[:2]))
            value = rng.normal(0, 1.5 / np.sqrt(fan_in), shape)
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.2, shape)
        variable.assign(value.astype("float32"))


def main(folder, names):
    import keras

    for i, (name, build) in enumerate({**MODELS, **APPLICATIONS, **REFUSED}.items()):
        if (names and name not in names) or (not names and name in APPLICATIONS):
            continue
        keras.utils.clear_session(free_memory=False)
        rng = np.random.default_rng(i)
        made = build(keras)
        model = keras.Sequential(made) if isinstance(made, list) else made
        randomise(model, rng)
        for suffix in ("keras", "h5"):
            model.save(folder / f"{name}.{suffix}")
        if name not in REFUSED:
            images = rng.integers(0, 256, (6, *model.input_shape[1:]), np.uint8)
            pixels = images.astype("float32") / (1 if name in FROM_BYTES or name in APPLICATIONS else 255)
            pixels = pixels * 2 - 1 if name in FROM_BOTH_SIDES else pixels
            np.savez(folder / f"{name}.npz", images=images, answers=model.predict(pixels, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

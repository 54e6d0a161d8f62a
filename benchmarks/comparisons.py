"""The table of comparisons: every row of issue 4's goals, and a few more without a goal.

{python} and {keensight} are ours, {peer} is .venv-bench's Python; {data}, {fashion} and {work} are folders; {fresh} is
a new folder for each run, and then the run's cache is new too.
"""

from __future__ import annotations

from measuring import PROCESS_S, REACHED_S, Command, Measure, Quality, Row

# Which recipe goes for which goal, and what is changed in it.
RECIPES = {
    "fashion-article": ("fashion-quick", "epochs=3"),  # what the article's 40 epochs end with, about 0.9108 test
    "fashion-0.92": ("fashion-quick", "epochs=4"),
    "fashion-0.94": ("fashion-best", "filters=16", "epochs=10"),
    "mnist-dense": ("digits-dense", "epochs=3"),
    "mnist-0.99": ("digits-quick",),
}


def train(data: str, recipe: str, *changes: str) -> Command:
    """Return a whole command, from a cold cache."""
    words = ("{keensight}", "train", data, "--recipe", recipe, "--seed", "{seed}", "--out", "{fresh}/run", "--json")
    return (*words, *(word for change in changes for word in ("--set", change)))


def ours(script: str, *words: str) -> Command:
    """Return a script of ours."""
    return ("{python}", f"benchmarks/ours_{script}.py", *words, "--threads", "{threads}")


def peer(script: str, *words: str) -> Command:
    """Return a peer's script."""
    return ("{peer}", f"benchmarks/peers/{script}.py", *words, "--threads", "{threads}")


def peak(*words: str) -> Command:
    """Return the peak memory of a command of ours."""
    return ("{python}", "benchmarks/ours_peak.py", "{keensight}", *words)


def serving(what: str, *words: str) -> Command:
    """Return a server under load, ours or the peer's."""
    return ("{python}", "benchmarks/serving.py", what, *words, "--steps", "12", "--threads", "{threads}")


def scale(*words: str) -> Command:
    """Return two workers, or what they are measured against."""
    return ("{python}", "benchmarks/scale.py", *words)


def nodes(count: int, *words: str) -> Command:
    """Return training on nodes of one core each."""
    return scale("nodes", str(count), *words, "--epochs", "4")


def pgd(whose: str) -> Command:
    """Return an attack, ours or another's, on the same network."""
    return ("{python}", "benchmarks/pgd.py", whose, MNIST, "--threads", "{threads}")


def lost(name: str, what: str, key: str) -> Row:
    """Return a row of how soon a run goes on when something is lost."""
    work = f"until a run on two nodes has learnt an epoch more: {what}"
    return Row(
        name, work, "a limit, in seconds", scale("faults"), None, (Measure("s", key),), 30, runs=2, group="scale-faults"
    )


WHOLE, ALONE = "whole command", "training alone"
TEST = "metrics.test.accuracy"
MNIST, HUSKIES = "{data}/mnist", "{data}/huskies.zip"
TRANSFER = "{work}/transfer/bundle"
LEFT = Quality("answers left right", "left", "left", within=0.01)
COMPARED = peak("compare", TRANSFER, "{fresh}/other", HUSKIES, "--out", "{fresh}/out")
PEAK = (Measure("GB", "peak_gb"),)
LIMIT_GB = "a limit, in GB"
ARTICLE = peer("keras_fashion", "{fashion}", "--epochs", "40", "--seed", "{seed}")
FASHION = ("--steps", "100", "--epochs", "4", "--seed", "{seed}")
HUSKY = ("--steps", "13", "--epochs", "4", "--seed", "{seed}")
AUTO = ("--precision", "auto")  # bfloat16 where the processor multiplies in it, as `keensight train` does
RATE = (Measure("images/s", "images_per_s", "images_per_s"),)
PER_CORE = (*RATE, Measure("by processor time", "images_per_processor_s", "images_per_processor_s"))
EPOCHS_40 = (
    Measure(f"40 epochs / {WHOLE}", PROCESS_S, "training_s"),
    Measure(f"40 epochs / {ALONE}", "training_seconds", "training_s"),
    Measure(f"same accuracy / {WHOLE}", PROCESS_S, REACHED_S),
)
REACHING = (
    Measure(f"same accuracy / {WHOLE}", PROCESS_S, REACHED_S),
    Measure(f"same accuracy / {ALONE}", "training_seconds", REACHED_S),
)
DENSE = ("{work}/dense/bundle", "{digit}", "--p95", "50")
SERVED_HUSKY = ("{work}/run/bundle", "{picture}", "--p95", "200")
TORCH_SERVER = ("--peer", "{peer}", "--network")
REQUESTS = Measure("requests/s at equal p95", "requests_per_s", "requests_per_s")
# The article's recipe measured once by hand: where a run of it ends.
ARTICLE_TEST = 0.9108
ARTICLE_RUN = "Keras/TensorFlow, the article's 40 epochs"

ROWS = (
    Row(
        "fashion-article", "Fashion-MNIST until the article's test accuracy", ARTICLE_RUN,
        train("fashion-mnist", *RECIPES["fashion-article"]), ARTICLE, EPOCHS_40, 50,
        Quality("test accuracy", TEST, "accuracy", least=ARTICLE_TEST, behind=0.0),
        their_runs=1, target=ARTICLE_TEST, group="fashion",
    ),
    Row(
        "fashion-0.92", "Fashion-MNIST until 0.92 test, mean", ARTICLE_RUN,
        train("fashion-mnist", *RECIPES["fashion-0.92"]), ARTICLE, EPOCHS_40, 30,
        Quality("test accuracy", TEST, "accuracy", least=0.92), their_runs=1, target=0.92, group="fashion",
    ),
    Row(
        "fashion-0.94", "Fashion-MNIST until 0.94 test, mean", ARTICLE_RUN,
        train("fashion-mnist", *RECIPES["fashion-0.94"]), ARTICLE, EPOCHS_40, 3,
        Quality("test accuracy", TEST, "accuracy", least=0.94), runs=3, their_runs=1, target=0.94, group="fashion",
    ),
    Row(
        "mnist-dense", "MNIST until 0.9786 with 784-512-10", "Keras/TensorFlow, TensorFlow's page for beginners",
        train(MNIST, *RECIPES["mnist-dense"]), peer("keras_dense", MNIST, "--epochs", "8", "--seed", "{seed}"),
        REACHING, 8, Quality("test accuracy", TEST, "accuracy", least=0.9786), target=0.9786, group="mnist-dense",
    ),
    Row(
        "mnist-dense-sklearn", "MNIST until 0.9786 with 784-512-10", "scikit-learn's MLPClassifier",
        train(MNIST, *RECIPES["mnist-dense"]), peer("sklearn_dense", MNIST, "--epochs", "12", "--seed", "{seed}"),
        REACHING, None, Quality("test accuracy", TEST, "accuracy", least=0.9786), their_runs=2, target=0.9786,
        group="mnist-dense",
    ),
    Row(
        "mnist-0.99", "MNIST until 0.99 test, mean", "PyTorch's stock MNIST example, to its first epoch at 0.99",
        train(MNIST, *RECIPES["mnist-0.99"]),
        peer("torch_mnist", MNIST, "--epochs", "14", "--until", "0.99", "--seed", "{seed}"), REACHING, 50,
        Quality("test accuracy", TEST, "accuracy", least=0.99), their_runs=2, target=0.99,
    ),
    Row(
        "fashion-throughput", "training the `fashion` network, identical steps, in this processor's best precision",
        "Keras/TensorFlow", ours("throughput", "fashion", "fashion-mnist", *FASHION, *AUTO),
        peer("keras_fashion", "{fashion}", *FASHION), RATE, 3,
        Quality("test loss", "loss", "loss", within=0.1), group="fashion-throughput",
    ),
    Row(
        "fashion-throughput-float32", "the same in float32", "Keras/TensorFlow",
        ours("throughput", "fashion", "fashion-mnist", *FASHION), peer("keras_fashion", "{fashion}", *FASHION), RATE,
        None, Quality("test loss", "loss", "loss", within=0.1), group="fashion-throughput",
    ),
    Row(
        "fashion-throughput-jax", "the same in float32", "Keras/JAX",
        ours("throughput", "fashion", "fashion-mnist", *FASHION),
        peer("keras_fashion", "{fashion}", *FASHION, "--backend", "jax"), RATE, None,
        Quality("test loss", "loss", "loss", within=0.1), their_runs=2, group="fashion-throughput",
    ),
    Row(
        "fashion-throughput-torch", "the same in float32", "plain torch",
        ours("throughput", "fashion", "fashion-mnist", *FASHION),
        peer("torch_throughput", "fashion", "{fashion}", *FASHION), RATE, None,
        Quality("test loss", "loss", "loss", within=0.1), group="fashion-throughput",
    ),
    Row(
        "husky-throughput", "training the `husky` network at 128x128, identical steps, in the best precision",
        "Keras/TensorFlow", ours("throughput", "husky", HUSKIES, *HUSKY, *AUTO), peer("keras_husky", HUSKIES, *HUSKY),
        RATE, 3, Quality("validation loss", "loss", "loss", within=0.15), group="husky-throughput",
    ),
    Row(
        "husky-throughput-float32", "the same in float32", "Keras/TensorFlow",
        ours("throughput", "husky", HUSKIES, *HUSKY), peer("keras_husky", HUSKIES, *HUSKY), RATE, None,
        Quality("validation loss", "loss", "loss", within=0.15), group="husky-throughput",
    ),
    Row(
        "husky-throughput-jax", "the same in float32", "Keras/JAX", ours("throughput", "husky", HUSKIES, *HUSKY),
        peer("keras_husky", HUSKIES, *HUSKY, "--backend", "jax"), RATE, None,
        Quality("validation loss", "loss", "loss", within=0.15), their_runs=1, group="husky-throughput",
    ),
    Row(
        "husky-throughput-torch", "the same in float32", "plain torch",
        ours("throughput", "husky", HUSKIES, *HUSKY), peer("torch_throughput", "husky", HUSKIES, *HUSKY), RATE, None,
        Quality("validation loss", "loss", "loss", within=0.15), their_runs=2, group="husky-throughput",
    ),
    Row(
        "husky-augmented", "the same, augmented as the recipe says", "Keras/TensorFlow, layers in tf.data",
        ours("throughput", "husky", HUSKIES, *HUSKY, *AUTO, "--augment"),
        peer("keras_husky", HUSKIES, *HUSKY, "--augment", "pipeline"), RATE, 4,
        Quality("validation loss", "loss", "loss", within=0.15), group="husky-augmented",
    ),
    Row(
        "husky-augmented-layers", "the same", "Keras/TensorFlow, layers in the network",
        ours("throughput", "husky", HUSKIES, *HUSKY, *AUTO, "--augment"),
        peer("keras_husky", HUSKIES, *HUSKY, "--augment", "model"), RATE, 4,
        Quality("validation loss", "loss", "loss", within=0.15), group="husky-augmented",
    ),
    Row(
        "folder-first", "folder of JPEGs to training tensors, first time", "torch DataLoader and Pillow, 2 workers",
        ours("folder", "{work}/folder"), peer("torch_loader", "{work}/folder"),
        (Measure("images/s", "first_images_per_s", "first_images_per_s"),), 2.5, group="folder", needs=("folder",),
    ),
    Row(
        "folder-cached", "folder of JPEGs to training tensors, from cache", "the same, later passes",
        ours("folder", "{work}/folder"), peer("torch_loader", "{work}/folder"),
        (
            Measure("images/s, next run", "cached_images_per_s", "later_images_per_s"),
            Measure("images/s, next epoch", "epoch_images_per_s", "later_images_per_s"),
        ), 20, group="folder", needs=("folder",),
    ),
    Row(
        "folder-large", "a folder of 12-megapixel JPEGs to training tensors, first time",
        "torch DataLoader and Pillow, 2 workers", ours("folder", "{work}/large"),
        peer("torch_loader", "{work}/large", "--epochs", "1"),
        (Measure("images/s", "first_images_per_s", "first_images_per_s"),), 5, needs=("large",),
    ),
    Row(
        "transfer", "transfer learning, huskies.zip to a bundle, cold", "plain torch, frozen backbone, 5 epochs",
        train(HUSKIES, "husky-transfer"), peer("torch_transfer", HUSKIES, "--seed", "{seed}"),
        (Measure(WHOLE, PROCESS_S, PROCESS_S),), 3,
        Quality("validation accuracy", "metrics.val.accuracy", "accuracy", behind=0.02), group="transfer",
    ),
    Row(
        "transfer-features", "the same", "plain torch, features once and then the head",
        train(HUSKIES, "husky-transfer"), peer("torch_transfer", HUSKIES, "--way", "features", "--seed", "{seed}"),
        (Measure(WHOLE, PROCESS_S, PROCESS_S),), 3,
        Quality("validation accuracy", "metrics.val.accuracy", "accuracy", behind=0.02), group="transfer",
    ),
    Row(
        "default", "`train` without a recipe, huskies.zip to a report and a bundle, cold",
        "plain torch, features once and then the head, no report",
        ("{keensight}", "train", HUSKIES, "--seed", "{seed}", "--out", "{fresh}/run", "--json"),
        peer("torch_transfer", HUSKIES, "--way", "features", "--seed", "{seed}"),
        (Measure(WHOLE, PROCESS_S, PROCESS_S),), 2.5,
        Quality("validation accuracy", "metrics.val.accuracy", "accuracy", behind=0.02), group="transfer",
    ),
    Row(
        "predict-folder", "`predict` of a folder of JPEGs, `husky` network", "Keras/TensorFlow `predict`",
        ours("predict", "{work}/run/bundle", "{work}/folder"),
        peer("keras_predict", "folder", "{work}/model.keras", "{work}/folder"), RATE, 3,
        Quality("accuracy", "accuracy", "accuracy", within=0.02), group="predict", needs=("folder", "bundle"),
    ),
    Row(
        "predict-folder-torch", "the same", "plain torch, DataLoader with 2 workers",
        ours("predict", "{work}/run/bundle", "{work}/folder"),
        peer("torch_predict", "folder", "{work}/run/bundle/model.safetensors", "{work}/folder"), RATE, 4,
        Quality("accuracy", "accuracy", "accuracy", within=0.02), group="predict", needs=("folder", "bundle"),
    ),
    Row(
        "predict-transfer", "`predict` of a folder of JPEGs, `husky-transfer`",
        "plain torch, DataLoader with 2 workers", ours("predict", TRANSFER, "{work}/folder"),
        peer("torch_predict", "folder", f"{TRANSFER}/model.safetensors", "{work}/folder", "--network", "transfer"),
        RATE, 4, Quality("accuracy", "accuracy", "accuracy", within=0.02), runs=3, needs=("folder", "transfer"),
    ),
    Row(
        "predict-one", "one picture from a cold start", "a torch script",
        ("{keensight}", "predict", "{work}/run/bundle", "{picture}", "--json"),
        peer("torch_predict", "one", "{work}/run/bundle/model.safetensors", "{picture}"),
        (Measure("whole process", PROCESS_S, PROCESS_S),), 5, runs=9, group="predict-one", needs=("folder", "bundle"),
    ),
    Row(
        "predict-one-keras", "the same", "Keras/TensorFlow",
        ("{keensight}", "predict", "{work}/run/bundle", "{picture}", "--json"),
        peer("keras_predict", "one", "{work}/model.keras", "{picture}"),
        (Measure("whole process", PROCESS_S, PROCESS_S),), None, runs=9, their_runs=5, group="predict-one",
        needs=("folder", "bundle"),
    ),
    Row(
        "serve-requests", "requests/s with p95 within 50 ms, 784-512-10", "FastAPI, uvicorn and torch",
        serving("ours", *DENSE), serving("torch", *DENSE, *TORCH_SERVER, "dense"), (REQUESTS,), 8, group="serve",
        needs=("served",),
    ),
    Row(
        "serve-memory", "peak memory of the server", "the same", serving("ours", *DENSE),
        serving("torch", *DENSE, *TORCH_SERVER, "dense"), (Measure("MB", "memory_mb", "memory_mb"),), 3, group="serve",
        needs=("served",),
    ),
    Row(
        "serve-start", "the server's start, until it answers", "the same", serving("ours", *DENSE),
        serving("torch", *DENSE, *TORCH_SERVER, "dense"), (Measure("s", "start_s", "start_s"),), 5, group="serve",
        needs=("served",),
    ),
    Row(
        "serve-husky", "requests/s with p95 within 200 ms, `husky` network, JPEGs", "the same",
        serving("ours", *SERVED_HUSKY), serving("torch", *SERVED_HUSKY, *TORCH_SERVER, "husky"), (REQUESTS,), 5,
        group="serve-husky", needs=("folder", "bundle"),
    ),
    Row(
        "serve-batching", "the same with micro-batching", "ours without: `--batch-size 1`",
        serving("ours", *SERVED_HUSKY), serving("ours", *SERVED_HUSKY, "--batch-size", "1"),
        (REQUESTS, Measure("p95 at low load", "low_p95_ms", "low_p95_ms")), 2, group="serve-husky",
        needs=("folder", "bundle"),
    ),
    Row(
        "serve-decoded", "images/s of the server, decoded already, 32 in a request", "ONNX Runtime in its own process",
        serving("tensors", *SERVED_HUSKY), serving("session", *SERVED_HUSKY), RATE, 2, group="serve-decoded",
        needs=("folder", "bundle"),
    ),
    Row(
        "serve-decoded-transfer", "the same with EfficientNet-Lite0", "ONNX Runtime in its own process",
        serving("tensors", TRANSFER, "{picture}"), serving("session", TRANSFER, "{picture}"), RATE, 1.5, runs=3,
        needs=("folder", "transfer"),
    ),
    Row(
        "serve-memory-three", "peak memory of a server with three models", LIMIT_GB,
        serving("ours", TRANSFER, "{picture}", "--p95", "200", "--also", TRANSFER, "--also", TRANSFER), None,
        (Measure("GB", "memory_gb"),), 0.6, runs=1, needs=("folder", "transfer"),
    ),
    Row(
        "memory-train", "peak memory of `train` with a backbone, pictures of 224x224", LIMIT_GB,
        peak(*train(HUSKIES, "husky-transfer")[1:]), None, PEAK, 2, runs=1,
    ),
    Row(
        "memory-explain", "the same of `explain`", LIMIT_GB,
        peak("explain", TRANSFER, "{picture}", "--out", "{fresh}/out"), None, PEAK, 2, runs=1,
        needs=("folder", "transfer"),
    ),
    Row(
        "memory-attack", "the same of `attack`", LIMIT_GB, peak("attack", TRANSFER, HUSKIES, "--most", "20", "--json"),
        None, PEAK, 2, runs=1, needs=("transfer",),
    ),
    Row(
        "memory-compare", "the same of `compare`", LIMIT_GB,
        ("sh", "-c", f"cp -r {TRANSFER} {{fresh}}/other && exec {' '.join(COMPARED)}"), None, PEAK, 2, runs=1,
        needs=("transfer",),
    ),
    Row(
        "memory", "peak memory of training on a 20 GB cache", "a limit, in GB of the process's own (RssAnon)",
        ours("memory", HUSKIES, "--gigabytes", "20", "--steps", "300"), None,
        (Measure("GB", "peak_gb"), Measure("growth in second half", "growth"), Measure("GB of files", "peak_file_gb")),
        1.5, runs=1,
    ),
    Row(
        "scale-ray", "`train --workers 2`, `husky` network at batch 32, images/s with validation and checkpoints",
        "the same two processes, started by torchrun", scale("ray", "husky", HUSKIES, "--epochs", "4"),
        scale("torchrun", "husky", HUSKIES, "--epochs", "4"), PER_CORE, 0.91, runs=3,
    ),
    Row(
        "scale-husky-32", "training on two nodes of one core each, `husky` network at batch 32", "one such node",
        nodes(2, "husky", HUSKIES, "--batch", "32"), nodes(1, "husky", HUSKIES, "--batch", "32"), PER_CORE, 1.7,
        runs=3,
    ),
    Row(
        "scale-husky-16", "the same at batch 16", "one such node",
        nodes(2, "husky", HUSKIES, "--batch", "16"), nodes(1, "husky", HUSKIES, "--batch", "16"), PER_CORE, None,
        runs=3,
    ),
    Row(
        "scale-fashion", "the same, `fashion` network at batch 128", "one such node",
        nodes(2, "fashion", "fashion-mnist", "--batch", "128"), nodes(1, "fashion", "fashion-mnist", "--batch", "128"),
        PER_CORE, None, runs=3,
    ),
    lost("scale-worker-lost", "a worker is killed", "worker_s"),
    lost("scale-node-lost", "a node is killed", "node_s"),
    lost("scale-link-lost", "the link between the nodes is cut", "link_s"),
    lost("scale-driver-lost", "the process that was started is killed, and started again", "driver_s"),
    Row(
        "scale-shards", "training from shards of ten times the memory that the process may have, small `cnn` network",
        "the same from memory", ("{python}", "benchmarks/shards.py", "streamed", "--gigabytes", "8"),
        ("{python}", "benchmarks/shards.py", "memory", "--gigabytes", "8"), PER_CORE, 0.8,
        Quality("times the limit", "times_the_limit", least=10), runs=1,
    ),
    Row(
        "scale-predict", "`predict --workers 2 --out`, one thread each, `husky` network", "`--workers 1`",
        scale("answers", "2", "{work}/run/bundle", "{work}/folder"),
        scale("answers", "1", "{work}/run/bundle", "{work}/folder"), RATE, 1.8, runs=3, needs=("folder", "bundle"),
    ),
    Row(
        "bounds", "interval bounds of 256 pictures, the dearest of four networks", "a limit, in forward passes",
        ours("bounds", "float32"), None, (Measure("forward passes", "ratio"),), 3,
    ),
    Row(
        "bounds-certificate", "the same in float64, with rounding counted, as certificates need", "forward passes",
        ours("bounds", "float64"), None, (Measure("forward passes", "ratio"),), None,
    ),
    Row(
        "pgd-foolbox", "50 steps of projected gradient descent on 1,000 MNIST pictures, the same small network",
        "foolbox", pgd("ours"), pgd("foolbox"), RATE, 2, LEFT, runs=3, group="pgd",
    ),
    Row(
        "pgd-torchattacks", "the same", "torchattacks", pgd("ours"), pgd("torchattacks"), RATE, 2, LEFT, runs=3,
        group="pgd",
    ),
    Row(
        "import", "`import keensight`", "a limit, in seconds", ("{python}", "-c", "import keensight"), None,
        (Measure("s", PROCESS_S),), 0.15, runs=20,
    ),
    Row(
        "help", "`keensight --help`", "a limit, in seconds", ("{keensight}", "--help"), None,
        (Measure("s", PROCESS_S),), 0.15, runs=20,
    ),
)  # fmt: skip

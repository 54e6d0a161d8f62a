"""The command line: one file per verb, each of which parses, calls and prints. Nothing heavy is imported up front."""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cyclopts import App

# Verb: its group in the help, what it does, and examples. The verb's module is only imported when it runs.
VERBS = {
    "info": (
        "Data",
        "Describe a run, a bundle, a recipe, a model, or data.",
        (
            "keensight info path/to/folder",
            "keensight info cnn --layers",
            "keensight info runs/folder --plot",
            "keensight info runs/folder/bundle --json",
            "keensight info runs/folder/bundle --engines",
            "keensight info --cache",
        ),
    ),
    "gather": (
        "Data",
        "Find pictures for labels, and fetch them with their creators and licences.",
        (
            'keensight gather "husky=siberian husky" "nothusky=dog,cat,forest" --out pictures',
            "keensight gather owl eagle --out birds --source inaturalist --source commons --count 500",
            "keensight gather owl eagle --out birds --licence cc0,by --contact me@example.org",
            "keensight gather owl --urls list.txt --out birds",
        ),
    ),
    "explore": (
        "Data",
        "Show labelled pictures on one page, with a map of them.",
        (
            "keensight explore path/to/folder",
            "keensight explore pictures.zip --out seen",
        ),
    ),
    "audit": (
        "Data",
        "Look for what is wrong with labelled pictures.",
        (
            "keensight audit path/to/folder",
            "keensight audit pictures.zip --out found --json",
            "keensight audit runs/folder/bundle --against path/to/folder",
        ),
    ),
    "clean": (
        "Data",
        "Drop, relabel or move pictures as decided; undo it.",
        (
            "keensight clean path/to/folder decisions.jsonl",
            "keensight clean path/to/folder --auto",
            "keensight clean path/to/folder --undo",
        ),
    ),
    "shard": (
        "Data",
        "Write labelled pictures as Parquet files, for more than fit in memory.",
        (
            "keensight shard path/to/folder --out shards --size 64",
            "keensight shard pictures.zip --out s3://bucket/pictures",
        ),
    ),
    "train": (
        "Train",
        "Train on labelled pictures; write a report and a bundle.",
        (
            "keensight train path/to/folder",
            "keensight train pictures.zip --label-pattern '{label}__*' --set flip=true",
            "keensight train mnist --recipe dense --set hidden=[256,128] --seed 1 --json",
            "keensight train path/to/folder --recipe husky-transfer",
            "keensight train path/to/folder --out runs/mine --resume",
        ),
    ),
    "tune": (
        "Train",
        "Search for better settings of a recipe, on validation pictures.",
        (
            "keensight tune path/to/folder --lr-range",
            "keensight tune path/to/folder --trials 40",
            "keensight tune digits --recipe dense --budget 10m --set batch_size=64",
            "keensight tune path/to/folder --out tunings/folder --resume --trials 60",
        ),
    ),
    "recipes": ("Train", "List the built-in recipes.", ("keensight recipes",)),
    "demo": (
        "Train",
        "Train, evaluate, attack and predict on built-in digits, in under a minute.",
        ("keensight demo",),
    ),
    "evaluate": (
        "Trust",
        "Measure a bundle on labelled pictures.",
        (
            "keensight evaluate runs/folder/bundle path/to/other-pictures",
            "keensight evaluate runs/folder/bundle path/to/folder --split test --json",
        ),
    ),
    "certify": (
        "Trust",
        "Prove for pictures that no small change changes the answer.",
        (
            "keensight certify runs/folder/bundle path/to/pictures --eps 0.01 0.03",
            "keensight certify runs/mnist mnist --eps 0.1 --branch 60 --json",
            "keensight certify runs/folder/bundle path/to/pictures --smooth 0.25",
        ),
    ),
    "compare": (
        "Trust",
        "Compare bundles on the same labelled pictures.",
        (
            "keensight compare runs/one/bundle runs/other/bundle path/to/pictures",
            "keensight compare runs/regular runs/robust mnist --eps 0 0.1 0.2 --out regular-or-robust",
        ),
    ),
    "attack": (
        "Trust",
        "Attack a bundle on labelled pictures, the worst of several attacks for each.",
        (
            "keensight attack runs/folder/bundle path/to/folder",
            "keensight attack runs/folder/bundle path/to/folder --eps 1/255 4/255 --json",
            "keensight attack runs/folder/bundle path/to/folder --norm shift --eps 1 2 3",
        ),
    ),
    "explain": (
        "Trust",
        "Show what the answers for pictures depend on.",
        (
            "keensight explain runs/folder/bundle picture.jpg",
            "keensight explain runs/folder/bundle path/to/mistakes --out why --json",
        ),
    ),
    "sign": (
        "Trust",
        "Sign a bundle with a private key.",
        (
            "keensight sign --new-key release.pem",
            "keensight sign runs/folder/bundle --key release.pem",
        ),
    ),
    "verify": (
        "Trust",
        "Check that a bundle is exactly what a key's owner signed.",
        ("keensight verify runs/folder/bundle --key release.pem.pub",),
    ),
    "predict": (
        "Serve",
        "Classify pictures.",
        (
            "keensight predict runs/folder/bundle picture.jpg",
            "keensight predict runs/folder/bundle path/to/inbox --json",
            "keensight predict runs/folder/bundle path/to/inbox --out answers.csv --sort-into sorted",
            "keensight predict runs/folder/bundle picture.jpg --key release.pem.pub",
        ),
    ),
    "scan": (
        "Serve",
        "Find in a large picture what a bundle of small ones knows.",
        (
            "keensight scan runs/planesnet/bundle airport.tif",
            "keensight scan runs/planesnet/bundle airport.tif --scales 1 1.5 2 --least 0.95",
            "keensight scan runs/animals/bundle meadow.png --find fox --find hare --out seen",
        ),
    ),
    "serve": (
        "Serve",
        "Classify pictures over HTTP, and show a web page.",
        (
            "keensight serve runs/folder/bundle",
            "keensight serve runs/folder/bundle --key release.pem.pub --host :: --port 80",
            "keensight serve --watch path/to/bundles --api-keys keys.txt",
            "keensight serve runs/folder/bundle --keep path/to/kept",
            "keensight serve --export-kept path/to/kept --out more.csv",
        ),
    ),
    "deploy docker": (
        "Serve",
        "Write a folder from which an image with a bundle is built.",
        (
            "keensight deploy docker runs/folder/bundle --key release.pem.pub --out image",
            "keensight deploy docker runs/folder/bundle --unsigned --name pictures --out image --json",
        ),
    ),
    "deploy kubernetes": (
        "Serve",
        "Write manifests for Kubernetes that run an image with a bundle.",
        (
            "keensight deploy kubernetes runs/folder --key release.pem.pub --out k8s --replicas 3",
            "keensight deploy kubernetes runs/folder --unsigned --out k8s --namespace vision --json",
            "keensight deploy kubernetes husky --train s3://bucket/pictures --workers 4 --out job",
        ),
    ),
    "deploy page": (
        "Serve",
        "Write one HTML file that answers in a browser, offline.",
        (
            "keensight deploy page runs/folder/bundle --key release.pem.pub --out page",
            "keensight deploy page runs/folder/bundle --unsigned --out page --runtime onnxruntime-web-1.30.0.tgz",
        ),
    ),
    "import-keras": (
        "Serve",
        "Turn a model that Keras saved into a bundle.",
        (
            "keensight import-keras huskymodel.h5 --labels nothusky,husky",
            "keensight import-keras fashion.keras --labels-file names.txt --out imported/fashion",
        ),
    ),
    "studio": (
        "Serve",
        "Open one local page on which pictures become a model.",
        ("keensight studio", "keensight studio path/to/folder --port 8080 --no-browser"),
    ),
    "export": (
        "Serve",
        "Write a bundle's model or weights as one file, or as an int8 bundle.",
        (
            "keensight export runs/folder/bundle --out model.onnx",
            "keensight export runs/folder/bundle --weights-only --out husky.safetensors",
            "keensight export runs/folder/bundle path/to/folder --to int8 --max-drop 0.5",
        ),
    ),
}
FAMILIES = {"deploy": ("Serve", "Write what runs a bundle in a container, on Kubernetes, or in a browser.")}
HELP = "From pictures to a classifier you can trust."
FIRST_STEPS = ("keensight demo", "keensight train path/to/folder", "keensight predict runs/folder/bundle picture.jpg")


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 a gate refused, 130 interrupted."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' warnings are for programmers, not for users
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that are not text; JSON has this escape
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # ignore Ctrl-C while Python exits: the work is done
    try:
        status = _run(tokens)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _say(str(interrupt) or "interrupted.")
        status = 130
    except OSError as error:  # stdout: its disk is full, or its reader has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _say(f"the output cannot be written: {str(error.strerror).lower()}. Send it elsewhere.")
        status = 1
    sys.exit(status)


def _run(tokens: Sequence[str] | None) -> int:
    from keensight.machine import collect_rarely, keep_memory, share_the_cores

    collect_rarely()  # it also speeds up imports
    from cyclopts import CycloptsError

    from keensight.errors import KeensightError

    share_the_cores()
    keep_memory()
    try:
        status = _app()(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        return status if isinstance(status, int) else 0
    except CycloptsError as error:
        from keensight.cli.misuse import misuse

        _say(misuse(error))
        return 2
    except KeensightError as error:
        _say(" ".join(str(error).split()))
        return error.exit_status
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("keensight"):
            raise
        _say(
            f"this needs the package '{error.name}', which is not installed: the base install only predicts "
            'and evaluates. Install the rest: pip install "keensight[all]".'
        )
        return 1
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None  # pybind11 turns an interruption during an import into an ImportError
        if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC):
            raise  # stdout: errors in writing files have their own messages
        if os.environ.get("KEENSIGHT_TRACEBACK"):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _say(f"this should not have happened ({what}). Set KEENSIGHT_TRACEBACK=1 to see where, and please report it.")
        return 1


def _app() -> App:
    from cyclopts import App, Group, Parameter

    from keensight.version import __version__

    app = App(
        name="keensight",
        help=HELP,
        help_epilogue=f"{_examples(FIRST_STEPS)}\n\nA verb's own help: keensight train --help",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        version=__version__,
        suppress_keyboard_interrupt=False,
    )
    groups = {name: Group(name, sort_key=i) for i, name in enumerate(("Data", "Train", "Trust", "Serve"))}
    for family, (group, text) in FAMILIES.items():
        firsts = [examples[0] for verb, (_, _, examples) in VERBS.items() if verb.startswith(f"{family} ")]
        epilogue = f"{_examples(firsts)}\n\nMore of each: keensight {family} COMMAND --help"
        app.command(App(name=family, help=text, help_epilogue=epilogue, help_format="plaintext", group=groups[group]))
    for verb, (group, text, examples) in VERBS.items():
        family, _, name = verb.rpartition(" ")
        module = family or name.replace("-", "_")
        (app[family] if family else app).command(
            f"keensight.cli.{module}:{name.replace('-', '_')}",
            name=name,
            help=text,
            group=None if family else groups[group],
            help_epilogue=_examples(examples),
        )
    return app


def _examples(lines: Sequence[str]) -> str:
    return "\n".join(["Examples:", "", *(f"  {line}" for line in lines)])


def _say(text: str) -> None:
    from keensight.names import printable

    print(f"keensight: {printable(text)}", file=sys.stderr)

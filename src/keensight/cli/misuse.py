"""What is wrong with a command line, in one paragraph: what came, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError

from keensight.values.recipe import KEYS, STORY

TRAINS = ("train", "tune")  # verbs with --set
DEVICES = ("device", "devices", "gpu", "gpus", "cuda", "mps", "cpu", "accelerator")  # as other tools call that option


def misuse(error: CycloptsError) -> str:
    """Say what is wrong with a command line; for a missing argument, in the words of the verb's own help."""
    verb = " ".join(error.command_chain or ())
    if isinstance(error, UnknownOptionError):
        typed = error.token.keyword or error.token.value
        if found := setting(typed, verb, error.root_input_tokens or ()):
            return found
    if not isinstance(error, MissingArgumentError) or not error.argument:
        return f"{' '.join(str(error).split())} Try `keensight --help`, or a verb's own --help."
    name = error.argument.name
    if error.keyword:
        return f"{name} was given without its value. See `keensight {verb} --help`."
    what = error.argument.parameter.help or ""
    return f"`keensight {verb}` needs {name}{what and f', {what[0].lower()}{what[1:]}'} See `keensight {verb} --help`."


def setting(typed: str, verb: str, words: Sequence[str]) -> str:
    """Say how a recipe's key that was typed as an option is set, or that no device is chosen; "" for other options.

    `words` are the whole command line, with the value after the option.
    """
    option, _, value = typed.partition("=")
    name = option.lstrip("-").replace("-", "_").lower()
    if name in DEVICES:
        return (
            f"There is no option {option}: keensight trains on a GPU by itself if torch finds one, by CUDA or Apple's "
            "MPS, and answers on the processor. Leave it out; CUDA_VISIBLE_DEVICES= (empty) in front hides a GPU."
        )
    following = list(words)[list(words).index(typed) + 1 :] if typed in words else []
    if not value and following and not following[0].startswith("-"):
        value = following[0]
    if name == "name" and verb in TRAINS:
        home = {"train": "runs", "tune": "tunings"}[verb]
        return (
            f"`keensight {verb}` has no option {option}: what it writes is called as its folder is. Write --out "
            f"{home}/{value or 'NAME'}."
        )
    meant = {alias: key for key in KEYS.values() for alias in (key.name, key.field, *key.also)}
    key = meant.get(name)
    if verb not in TRAINS or key is None or key.name in STORY:
        return ""
    return (
        f"`keensight {verb}` has no option {option}: it is the recipe's key '{key.name}'. Write --set "
        f"{key.name}={value or 'VALUE'}; `keensight info default --json` has all keys."
    )

"""A finding in words, for the terminal, the report and the card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from keensight.errors import PAGES, counted, shortlist
from keensight.pages.bundle_findings import backdoor, tampering
from keensight.values import Action, Decision, Finding


def sentence(finding: Finding) -> str:
    """Return a sentence that says what was found, and what it means for the reader.

    >>> sentence(Finding("groups", evidence={"count": 10}))
    'The pictures are of 10 groups; a split that was drawn has whole groups.'
    """
    said = SENTENCES[finding.kind](finding)
    if looked_at := finding.evidence.get("looked_at"):
        return f"Of {looked_at:,} pictures, taken evenly from all: {said}"
    return said


def without_names(finding: Finding) -> str:
    """Return the sentence without the files' names, for where the pictures themselves stand beside it.

    >>> without_names(Finding("blank", ("dog/a.1.jpg", "dog/b.jpg")))
    '2 pictures are blank, all of nearly one colour. Look whether they belong.'
    """
    said = sentence(finding)
    named = [at for file in finding.samples if (at := said.find(f": {file}")) >= 0]
    if not named:
        return said
    last = max(said.rfind(file) + len(file) for file in finding.samples if file in said)
    end = re.compile(r"\.(?= |$)").search(said, last)
    return said[: min(named)] + (said[end.start() :] if end else ".")


def _identical(finding: Finding) -> str:
    if finding.evidence.get("by") == "bytes":
        return (
            f"{_count(finding, 'picture is', 'pictures are')} in these data twice, byte for byte: "
            f"{shortlist(_pairs(finding))}. A second copy teaches a model nothing."
        )
    if finding.evidence.get("by") == "pixels":
        pairs = _pairs(finding)
        many = _count(finding, "picture is another", "pictures are others")
        return (
            f"{many} pixel for pixel, in files of other bytes, as if saved again: "
            f"{shortlist(pairs)}. Such pictures stay in one split."
        )
    count = len(finding.samples)
    return (
        f"{count:,} {'picture is a copy' if count == 1 else 'pictures are copies'} of others, byte for byte; copies "
        "stay in one split, so that none is used both for training and for testing."
    )


def _leak(finding: Finding) -> str:
    if finding.evidence.get("by") == "bundle":
        count, total = len(finding.samples), finding.evidence["of"]
        return (
            f"{count:,} of these {total:,} pictures {'is' if count == 1 else 'are'} among those that "
            f"{finding.evidence['bundle']} learnt from or was chosen by: measured on them, it looks better than it is: "
            f"{shortlist(finding.samples)}."
        )
    if groups := finding.evidence.get("groups"):
        many = "group is" if len(groups) == 1 else "groups are"
        return f"{len(groups):,} {many} in two of the given splits: {shortlist(groups)}."
    shared = _pairs(finding)
    if "held_out" in finding.evidence:
        held, total, share = (finding.evidence[key] for key in ("held_out", "of", "share"))
        same, are = SAME[finding.evidence["by"]], "is" if held == 1 else "are"
        return (
            f"{_count(finding, 'picture is', 'pictures are')} in two splits{same}. Of the {total:,} "
            f"held-out pictures, {held:,} {are} among them: what a model gets right there may be memory, so "
            f"its accuracy may look up to {100 * share:.1f} points too high. Keep each in one split only: "
            f"{shortlist(shared)}."
        )
    alike = ", with the same pixels in files of other bytes" if finding.evidence.get("by") == "pixels" else ""
    return (
        f"{counted(len(shared), 'picture is', 'pictures are')} in two of the given splits{alike}, which makes the "
        f"numbers look better than they are: {shortlist(shared)}."
    )


def _pairs(finding: Finding) -> list[str]:
    return [f"{one} = {other}" for one, other in finding.evidence["pairs"]]


def _near_duplicate(finding: Finding) -> str:
    return (
        f"{counted(len(finding.samples), 'picture is', 'pictures are')} nearly the same as others of the same class: "
        f"{shortlist(_pairs(finding))}. Such copies count twice; keep the better one, or keep both in one split."
    )


def _count(finding: Finding, one: str, many: str) -> str:
    count = len(finding.evidence["pairs"])
    return f"{count:,} {one if count == 1 else many}"


SAME = {
    "bytes": ", byte for byte",
    "pixels": ", with the same pixels in files of other bytes",
    "likeness": ", nearly the same",
}


def _blank(finding: Finding) -> str:
    count = len(finding.samples)
    what = "picture is" if count == 1 else "pictures are"
    return f"{count:,} {what} blank, all of nearly one colour: {shortlist(finding.samples)}. Look whether they belong."


UNLIKE = {  # what is said of pictures that are unlike the others, and what it may mean
    "dark": ("very dark", "A model may learn the darkness, or nothing."),
    "light": ("very light, nearly white", "A model may learn the lightness, or nothing."),
    "blurred": ("blurred, or with far less detail than the others", "Look whether you can tell what is shown."),
    "tiny": ("much smaller than the others", "Models see such pictures blown up: get larger ones, or leave them out."),
    "long": ("of another shape than the others", "A model sees such pictures squeezed: cut to what matters."),
    "grey": ("grey among others in colour", "Where most grey ones are of one class, a model may learn just that."),
}


def _quality(finding: Finding) -> str:
    if what := finding.evidence.get("what"):
        count = len(finding.samples)
        said, means = UNLIKE[what]
        return f"{count:,} picture{' is' if count == 1 else 's are'} {said}: {shortlist(finding.samples)}. {means}"
    side, detail = finding.evidence["side"], finding.evidence["detail"]
    return (
        f"Most pictures are about {side:,} pixels high or wide, and hold no more detail than pictures of {detail:,}: "
        "they were blown up, or are blurred. If you have the originals, use them; else a model may fail on sharp "
        "pictures."
    )


def _scaling(finding: Finding) -> str:
    count = len(finding.samples)
    return (
        f"{count:,} {'picture shows' if count == 1 else 'pictures show'} something else to programs that make pictures "
        f"small without averaging, as if made to deceive them: {shortlist(finding.samples)}. keensight averages, and "
        "sees what you see; other programs may learn, or answer for, the hidden picture. Leave such pictures out."
    )


FILES = {  # of one file, of several; what that may mean
    "payload": (
        "hides a file or code beside its pixels",
        "hide a file or code beside their pixels",
        "keensight never runs what it reads, but others may be handed these files: save the pictures anew",
    ),
    "after": ("goes on after its picture's end", "go on after their picture's end", "Save the pictures anew"),
    "text": ("holds a text", "hold a text", "Read it before you pass the pictures on"),
    "place": (
        "says where the picture was taken",
        "say where the picture was taken",
        "That may be somebody's home: save the pictures without metadata before you pass them on",
    ),
    "person": (
        "names a person: an artist, an owner, or a copyright",
        "name a person: an artist, an owner, or a copyright",
        "Ask whether you may use and pass on the pictures",
    ),
    "serial": (
        "names a camera or lens by its number",
        "name a camera or lens by its number",
        "It ties pictures to one person: save them without metadata before you pass them on",
    ),
    "thumbnail": (
        "holds a small picture that shows something else than the large one",
        "hold a small picture that shows something else than the large one",
        "The picture was changed later, and what was cut off or covered is still there: save it without metadata",
    ),
}


def _metadata(finding: Finding) -> str:
    one, several, means = FILES[finding.evidence["what"]]
    said = [f"{path} ({says})" for path, says in zip(finding.samples, finding.evidence["says"], strict=True)]
    return f"{len(said):,} {f'file {one}' if len(said) == 1 else f'files {several}'}: {shortlist(said, 3)}. {means}."


def _poison(finding: Finding) -> str:
    count, side, label = len(finding.samples), finding.evidence["side"], finding.evidence["label"]
    height, width = finding.evidence["size"]
    top, left = finding.evidence["place"] or (None, None)
    place = "at several places" if top is None else f"{top} pixels from the top and {left} from the left"
    return (
        f"The same patch of at least {side}x{side} pixels, {place} (of {height}x{width}), is in {count:,} pictures, "
        f"nearly all of '{label}': {shortlist(finding.samples)}. A mark of a camera does that, and so does somebody "
        f"who wants a model to answer '{label}' wherever the patch is. Look at them, and leave them out if "
        "you cannot explain it."
    )


def _outlier(finding: Finding) -> str:
    count = len(finding.samples)
    if finding.evidence.get("by") == "bundle":
        return (
            f"{count:,} of {finding.evidence['of']:,} pictures that {finding.evidence['bundle']} has not seen "
            f"{'is' if count == 1 else 'are'} unlike all that it learnt: {shortlist(finding.samples)}. Of pictures "
            "like its own, it refuses as many as its report says (one in twenty, unless told otherwise): where it is "
            "far more, these data are of another kind."
        )
    return (
        f"{count:,} picture{' is' if count == 1 else 's are'} unlike all others, by what a network sees in them: "
        f"{shortlist(finding.samples)}. Look whether each shows one of the classes at all, the oddest first."
    )


SHORTCUTS = {  # what tells classes apart; what that may mean
    "size": ("their files' sizes in pixels", "Make all classes of one size, or from the same sources"),
    "format": ("their files' formats", "Save all classes in one format"),
    "jpeg": ("how much JPEG has compressed them", "Save all classes with one quality, or get them from one source"),
    "camera": ("which camera or program they are from", "Get each class from the same sources"),
    "bytes": ("their files' lengths", "Busy pictures have longer files, so this may be content; else save them alike"),
    "border": ("their outermost pixels", "Look for frames or bars that only one class has, and cut them off"),
    "corners": ("their corners", "Look for a logo, a date or a background that only one class has"),
    "colour": (
        "their mean colours",
        "If that is the colour of what they show, it is what to learn; if it is light, paper or a camera, it is not",
    ),
}


def _shortcut(finding: Finding) -> str:
    by, means = SHORTCUTS[finding.evidence["what"]]
    accuracy, low, high, floor = (
        f"{100 * finding.evidence[key]:.0f} %" for key in ("accuracy", "accuracy_low", "accuracy_high", "floor")
    )
    return (
        f"{accuracy} of the pictures ({low} to {high}) can be told by {by} alone, without looking at what they show; "
        f"saying the most frequent class would get {floor} right. A model may learn just that, and fail "
        f"elsewhere. {means}."
    )


def _label(finding: Finding) -> str:
    if finding.evidence.get("by") in ("bundle", "bundle's labels"):
        said = [f"{path} ({says})" for path, says in zip(finding.samples, finding.evidence["says"], strict=True)]
        one = len(said) == 1
        what = (
            f"{'label differs' if one else 'labels differ'} from what {finding.evidence['bundle']} learnt for the same "
            "picture"
            if finding.evidence["by"] == "bundle's labels"
            else f"{'label looks' if one else 'labels look'} wrong to {finding.evidence['bundle']}, which is sure of "
            "another"
        )
        return f"{len(said):,} {what}: {shortlist(said)}. Look which is right."
    if finding.evidence.get("by") == "search":
        one, labels = len(finding.samples) == 1, counted(finding.evidence["of"], "label")
        return (
            f"{len(finding.samples):,} of {labels} {'is' if one else 'are'} a search's guess, and nobody has looked at "
            f"{'it' if one else 'them'}. On the page of `keensight audit`, drop or relabel what is wrong, and confirm "
            f"the others ({PAGES}gather.md)."
        )
    if finding.evidence.get("by") == "heads":
        pairs = zip(finding.samples, finding.evidence["labels"], finding.evidence["suggested"], strict=True)
        doubtful = [f"{path} ({label}; or {other}?)" for path, label, other in pairs]
        look = "label looks" if len(doubtful) == 1 else "labels look"
        return (
            f"{len(doubtful):,} {look} wrong to a model that has learnt from the other pictures: "
            f"{shortlist(doubtful)}. Look at each, the most doubtful first, and correct what is wrong."
        )
    if several := finding.evidence.get("spellings"):
        alike = shortlist([" and ".join(f"'{name}'" for name in names) for names in several])
        return (
            f"Some classes may be one in several spellings: {alike}. They are learnt as different classes; where they "
            "are one, give it one spelling."
        )
    if missing := finding.evidence.get("missing"):
        named = shortlist([f"'{name}'" for name in missing])
        return f"The class name {named} looks like a label that is missing. Fill it in, or leave these pictures out."
    by = f"{SAME['likeness']}," if finding.evidence.get("by") == "likeness" else ""
    torn = [" = ".join(f"{path} ({label})" for path, label in pair) for pair in finding.evidence["pairs"]]
    many = _count(finding, "picture appears", "pictures appear")
    return f"{many} twice{by} with different labels, so one label is wrong: {shortlist(torn)}."


def _groups(finding: Finding) -> str:
    return f"The pictures are of {finding.evidence['count']:,} groups; a split that was drawn has whole groups."


def _held_out(finding: Finding) -> str:
    if "kept" in finding.evidence:
        kept, drawn = finding.evidence["kept"], finding.evidence["drawn"]
        stay = counted(kept, "picture keeps the split that it had", "pictures keep the split that they had")
        divided = "is divided by itself" if drawn == 1 else "are divided by themselves"
        return f"{stay}; {drawn:,} that had none {divided}."
    missing: Mapping[str, float] = finding.evidence["shares"]
    shares = " and ".join(f"{share:.0%} for {name}" for name, share in missing.items())
    return (
        f"The data brings no {' and no '.join(missing)} split: of its training pictures, {shares} are held out instead."
    )


def _rare(finding: Finding) -> str:
    if part := finding.evidence.get("part"):
        return f"{part} has no picture of {shortlist(finding.evidence['lacks'])}: only the other DATA do."
    if lacks := finding.evidence.get("lacks"):
        return (
            f"The {finding.evidence['split']} split that the data brings has no picture of {shortlist(lacks)}: what "
            "the model knows of that is not measured there."
        )
    counts: Mapping[str, int] = finding.evidence["left_out"]
    named = shortlist([f"'{name}' ({count:,})" for name, count in counts.items()])
    return (
        f"Classes with too few different pictures for every split are left out, because of skip_rare: {named}; in "
        "brackets is their number of pictures. The model does not know them."
    )


DECIDED: dict[Action, str] = {
    "drop": "left out",
    "relabel": "relabelled",
    "move": "moved to a split",
    "keep": "kept",
    "confirm": "confirmed",
}


def done_in_words(decisions: Sequence[Decision]) -> str:
    """Say what was decided, and how often.

    >>> done_in_words([Decision("0" * 64, "drop"), Decision("1" * 64, "drop"), Decision("2" * 64, "confirm")])
    'left out 2, confirmed 1'
    """
    counts = Counter(each.action for each in decisions)
    return ", ".join(f"{said} {counts[action]:,}" for action, said in DECIDED.items() if counts[action])


def _decided(finding: Finding) -> str:
    counts: Mapping[str, int] = finding.evidence["counts"]
    what = ", ".join(f"{said} {counts[action]:,}" for action, said in DECIDED.items() if action in counts)
    by = f" by {shortlist(finding.evidence['who'])}" if finding.evidence["who"] else ""
    last = f", the last on {finding.evidence['last']}" if finding.evidence["last"] else ""
    return f"Decisions about single pictures were taken{by}{last}, and are followed here: {what}."


SENTENCES: dict[str, Callable[[Finding], str]] = {
    "identical": _identical,
    "near-duplicate": _near_duplicate,
    "blank": _blank,
    "quality": _quality,
    "shortcut": _shortcut,
    "outlier": _outlier,
    "poison": _poison,
    "scaling": _scaling,
    "metadata": _metadata,
    "leak": _leak,
    "label": _label,
    "groups": _groups,
    "held-out": _held_out,
    "backdoor": backdoor,
    "tampering": tampering,
    "rare": _rare,
    "decided": _decided,
}

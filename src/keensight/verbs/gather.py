"""`keensight gather`: find pictures for labels, fetch them politely, and write down whose they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from keensight.care.gather.client import Client
from keensight.care.gather.folder import ATTRIBUTION, JOURNAL, GatherFolder
from keensight.care.gather.licences import wanted
from keensight.care.gather.loop import Gathering, Stop, Wish, gather_into
from keensight.care.gather.manifest import MANIFEST
from keensight.care.gather.network import Network
from keensight.care.gather.queries import listed_in, queries_of
from keensight.care.gather.sources import Source, key_of, source_called
from keensight.errors import KeensightError, UsageError, counted, shortlist
from keensight.files import write_atomically
from keensight.names import printable
from keensight.pages.attribution import render_attribution
from keensight.pipeline.budget import seconds_of
from keensight.pipeline.watch import Watcher
from keensight.values import Finding
from keensight.workspace import Kind, claim

GATHERING = Kind("gathering", "Gather", home=Path("gathered"), begun=JOURNAL, kept=JOURNAL, finished="")
COUNT = 100
CONTACT = "KEENSIGHT_CONTACT"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was gathered: the folder and its two lists, new pictures, pictures by label, and why others were left out.

    `findings` are about copies under different labels; `notes` say why there are fewer pictures than wanted.
    """

    out: Path
    manifest: Path
    attribution: Path
    new: int
    labels: dict[str, int]
    left_out: dict[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def gather(
    queries: Sequence[str] = (),
    *,
    out: str | Path,
    source: Sequence[str] = (),
    count: int | None = None,
    licence: str | None = None,
    urls: str | Path | None = None,
    contact: str | None = None,
    patience: str = "2m",
    watcher: Watcher | None = None,
    network: Network | None = None,
) -> Gathered:
    """Gather pictures into a folder for each label, with their creators and licences. The same again goes on.

    Args:
        queries: What to look for, as label=words; several queries of a label have commas between them. Words alone are
            their own label.
        out: The folder: new, empty, or one that was gathered into before, which then gets more.
        source: Where to look: openverse, commons, inaturalist; with a key flickr, pexels, unsplash; or a .toml file
            that describes a service. Several are asked in turn; openverse if left out.
        count: Pictures for each label; 100, or all of `urls`, if left out.
        licence: Only these licences, such as cc0,by,by-sa; all but "all rights reserved" if left out.
        urls: A file with addresses of pictures, which are fetched; nothing is searched then.
        contact: Your e-mail address or web page, sent with every request, so that a service can reach you; the
            environment variable KEENSIGHT_CONTACT if left out.
        patience: How long to wait where a service asks for it, such as 30s or 2h.
        watcher: Is told of the progress.
        network: For tests: servers on this machine that stand in for hosts of the internet.

    Raises:
        UsageError: no query, an unknown source or licence, or a key that is missing.
        RunError: `out` holds something else, or another process gathers into it.
        KeensightError: nothing could be gathered; the message says why.

    Examples:
        >>> import keensight
        >>> keensight.gather(["husky=siberian husky"], out="dogs", count=500).labels  # doctest: +SKIP
        {'husky': 500}
    """
    watcher = watcher or Watcher()
    path, told = Path(out), contact or os.environ.get(CONTACT, "")
    client = Client(_checked_contact(told), seconds_of(patience), network)
    wish = _wish([queries] if isinstance(queries, str) else queries, source, count, wanted(licence), urls)
    for note in _before(wish, told):
        watcher.note(note)
    begun = next((name for name in (JOURNAL, MANIFEST) if (path / name).is_file()), "")
    kind = replace(GATHERING, begun=begun or JOURNAL)  # without the one, everything is searched anew
    with claim(path, path.name, resume=bool(begun), kind=kind):
        folder = GatherFolder(path)
        try:
            watcher.stage("searching")
            result = gather_into(folder, wish, client, watcher.gathered, watcher.compared)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on where it stopped.") from None
        finally:
            client.close()
            if len(folder):
                with suppress(KeensightError):  # of a full disk, the first error has told
                    write_atomically(path / ATTRIBUTION, render_attribution(folder.rows))
        notes = tuple(_after(wish, result))
        if not len(folder):
            raise KeensightError(_nothing(folder, wish, notes))
    for note in notes:
        watcher.note(note)
    return Gathered(
        path, path / MANIFEST, path / ATTRIBUTION, result.new, result.labels, dict(folder.left_out.most_common()),
        result.findings, notes,
    )  # fmt: skip


def _wish(
    queries: Sequence[str],
    names: Sequence[str],
    count: int | None,
    licences: frozenset[str],
    urls: str | Path | None,
) -> Wish:
    if count is not None and count < 1:
        raise UsageError(f"A count of {count} was given. Give 1 or more pictures for each label.")
    if urls is not None:
        if names:
            raise UsageError("A list of addresses and a source were given. Give one of them: a list is not searched.")
        listed = listed_in(Path(urls), queries)
        if not any(picture.licence in licences for pictures in listed.values() for picture in pictures):
            raise UsageError(
                f"No picture in {urls} has one of the licences {', '.join(sorted(licences))}. An address alone has the "
                'licence "unknown"; in a JSON line, "licence" says another.'
            )
        return Wish({}, (), count or max(map(len, listed.values())), licences, listed)
    found = queries_of(queries)
    sources = [source_called(name) for name in dict.fromkeys(names or ("openverse",))]
    for _, each in sources:
        if not each.licences & licences:
            raise UsageError(
                f"{each.title} has none of the licences {', '.join(sorted(licences))}; it has "
                f"{', '.join(sorted(each.licences))}. Choose another source, or other licences."
            )
    return Wish(found, [(name, each, key_of(each)) for name, each in sources], count or COUNT, licences)


def _checked_contact(text: str) -> str:
    if not text.isascii() or not text.isprintable() or len(text) > 200:
        raise UsageError(f"The contact is '{printable(text[:60])}'. An e-mail address or a web page is accepted.")
    return text.strip()


def _before(wish: Wish, contact: str) -> Iterator[str]:
    """Yield what somebody should know before the first request."""
    if not contact:
        yield (
            "no request says who you are. Give --contact with your e-mail address or web page, or set "
            f"{CONTACT}: services limit, and may block, programs that nobody answers for."
        )
    if terms := [f"{each.title}, {each.terms}" for _, each, _ in wish.sources if each.terms]:
        yield f"what may be done with the pictures, and whether a program may fetch them, say {'; '.join(terms)}."


def _after(wish: Wish, result: Gathering) -> Iterator[str]:
    """Yield why there are fewer pictures than wanted."""
    titles = {name: each for name, each, _ in wish.sources}
    for stop in result.stops:
        yield _stopped(stop, titles.get(stop.source))
    lacking = [
        f"{label} has {there:,} of {wish.count:,}"
        for label, there in result.labels.items()
        if there < (len(wish.listed[label]) if wish.listed else wish.count)
    ]
    if lacking and not result.stops and not wish.listed:
        yield f"nothing more is found: {shortlist(lacking)}. Give more queries for a label, or another --source."
    elif lacking and any(result.labels.values()):
        yield f"fewer than wanted: {shortlist(lacking)}."
    if result.later:
        yield f"{counted(result.later, 'picture')} could not be fetched now; the same command tries them again."


def _stopped(stop: Stop, source: Source | None) -> str:
    title = source.title if source else stop.source
    if stop.kind == "later":
        again = "the same command goes on then, or a longer --patience waits for it"
        return f"{title} asks to wait {_time(stop.seconds)}; {again}."
    if stop.kind == "key":
        names = " and ".join(source.keys or source.may) if source else "the key"
        return f"{title} does not accept the key ({stop.why}). Check {names}."
    if stop.kind == "refused":
        return f"one search ended early: {stop.why}."
    if stop.kind == "offline":
        return f"no host can be reached any more ({stop.why}). Check the network; the same command goes on."
    proxy = next((name for name in ("HTTPS_PROXY", "https_proxy") if os.environ.get(name)), "")
    said = f" ({proxy} is set, but no proxy is used: behind one, addresses could not be checked)" if proxy else ""
    return f"{title} cannot be asked: {stop.why}. Check the network{said}; the same command goes on."


def _time(seconds: float) -> str:
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1.0, seconds):,.0f} seconds"


def _nothing(folder: GatherFolder, wish: Wish, notes: Sequence[str]) -> str:
    said = " ".join(f"{note[0].upper()}{note[1:]}" for note in notes)
    if folder.left_out:
        reasons = [f"{why} ({number:,})" for why, number in folder.left_out.most_common()]
        said = f"All that was found was left out: {shortlist(reasons)}. {said}"
    where = shortlist([each.title for _, each, _ in wish.sources]) or "the list"
    return f"No picture was gathered from {where}. {said}"

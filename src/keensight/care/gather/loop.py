"""Gathering: search, fetch, check and keep, until every label has enough pictures or nothing more is found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from keensight.care.gather.asking import Asker, KeyRefusedError
from keensight.care.gather.checks import MAX_BYTES, checked
from keensight.care.gather.client import Client, LaterError, StoppedError
from keensight.care.gather.folder import GatherFolder
from keensight.care.gather.found import Found, Search
from keensight.care.gather.near import Tiny, settle
from keensight.care.gather.network import RefusedError, UnreachableError
from keensight.care.gather.sources import Source
from keensight.data.apart import Apart
from keensight.errors import PictureError
from keensight.executor import Threads
from keensight.values import Finding

WORKERS = 8  # threads that fetch; they mostly wait
OFFLINE = 20  # pictures in a row, of whatever host, that could not be reached: the network is gone

StopKind = Literal["later", "unreachable", "refused", "key", "offline"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to gather: for each label its queries, from which sources (each with its keys), how many, which licences.

    Pictures in `listed` are fetched instead, where somebody has listed them; no source is then searched.
    """

    queries: dict[str, tuple[str, ...]]
    sources: Sequence[tuple[str, Source, tuple[str, ...]]]
    count: int
    licences: frozenset[str]
    listed: dict[str, list[Found]] = field(default_factory=dict)


class Stop(NamedTuple):
    """Why a source (or a picture's host) gives no more now: `seconds` is how long it asks to wait."""

    kind: StopKind
    source: str
    why: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Gathering:
    """What came of it: new pictures and how many there are by label, what stopped it, and copies across labels."""

    new: int
    labels: dict[str, int]
    stops: tuple[Stop, ...]
    later: int  # pictures that could not be fetched now, and may be next time
    findings: tuple[Finding, ...]


class _Item(NamedTuple):
    label: str
    picture: Found


class _Fetched(NamedTuple):
    item: _Item
    content: bytes | None
    problem: Exception | None


Progress = Callable[[int, int], None]


def gather_into(
    folder: GatherFolder, wish: Wish, client: Client, on_progress: Progress, on_compared: Progress
) -> Gathering:
    """Gather pictures into a folder, and go on where an earlier process stopped."""
    run = _Run(folder, wish, client, on_progress)
    compared, findings = -1, tuple[Finding, ...]()
    try:
        while True:
            tried = run.round()
            if tried and not run.is_full():
                continue  # for those that could not be used
            if compared != len(folder):
                findings = settle(folder, run.tiny, on_compared)
                compared = len(folder)
                if tried and not run.is_full():
                    continue  # for the copies that went
            break
    finally:
        run.apart.close()
    labels = {label: folder.count(label) for label in run.labels}
    return Gathering(run.new, labels, tuple(run.stops), run.later, findings)


class _Run:
    """One process's part of a gathering."""

    def __init__(self, folder: GatherFolder, wish: Wish, client: Client, on_progress: Progress) -> None:
        self.folder, self.wish, self.client, self.on_progress = folder, wish, client, on_progress
        self.labels = list(wish.listed or wish.queries)
        listed = wish.listed
        self.wants = {
            label: min(wish.count, len(listed.get(label, ())) if listed else wish.count) for label in self.labels
        }
        self.apart = Apart()
        self.tiny: Tiny = {}
        self.stops: list[Stop] = []
        self.new = self.later = self.unreached = 0
        self._askers = {name: Asker(source, keys, client, folder) for name, source, keys in wish.sources}
        self._under_way: set[str] = set()  # names of pictures that this round fetches
        self._put_off: dict[str, deque[Found]] = {label: deque() for label in self.labels}
        self._streams = {label: self._stream(label) for label in self.labels}

    def is_full(self) -> bool:
        """Say whether every label has enough."""
        return all(self.folder.count(label) >= wanted for label, wanted in self.wants.items())

    def round(self) -> int:
        """Fetch as many pictures as are missing, as far as they are found; return how many were tried."""
        tried = 0
        with Threads(WORKERS) as threads:
            try:
                for fetched in threads.map(self._fetch, self._missing()):
                    tried += 1
                    self._take(fetched)
                    done = sum(min(self.folder.count(label), wanted) for label, wanted in self.wants.items())
                    self.on_progress(done, sum(self.wants.values()))
            except BaseException:
                self.client.close()  # before the threads are waited for
                raise
        return tried

    def _missing(self) -> Iterator[_Item]:
        """Yield pictures that are found, label after label in turn, as many as each lacks."""
        self._under_way.clear()
        lacks = {label: wanted - self.folder.count(label) for label, wanted in self.wants.items()}
        turns = deque(label for label in self.labels if lacks[label] > 0)
        while turns and not self._is_offline():
            label = turns.popleft()
            picture = self._next(label)
            if picture is not None:
                self._under_way.add(picture.name)
                lacks[label] -= 1
                yield _Item(label, picture)
                if lacks[label] > 0:
                    turns.append(label)

    def _next(self, label: str) -> Found | None:
        """Return the next picture for a label; one that is fetched for another label right now is put off."""
        later = self._put_off[label]
        if later and later[0].name not in self._under_way:
            return later.popleft()
        for picture in self._streams[label]:
            if picture.name not in self._under_way:
                return picture
            later.append(picture)
        return None

    def _stream(self, label: str) -> Iterator[Found]:
        """Yield what is found for a label and not known yet, query after query and source after source in turn."""
        searches: deque[Iterator[Found]] = deque()
        if self.wish.listed:
            searches.append(iter(self.wish.listed[label]))
        else:
            queries = self.wish.queries[label]
            searches += [self._search(name, source, bool(keys), query)
                         for query in queries for name, source, keys in self.wish.sources]  # fmt: skip
        seen: set[str] = set()
        while searches:
            search = searches.popleft()
            for picture in search:
                is_wanted = picture.licence in self.wish.licences and picture.name not in seen
                seen.add(picture.name)
                if is_wanted and not self.folder.is_known(label, picture):
                    yield picture
                    searches.append(search)
                    break

    def _search(self, name: str, source: Source, has_key: bool, query: str) -> Iterator[Found]:
        """Yield what a source finds, until it has no more or cannot be asked."""
        if any(stop.source == name and stop.kind != "refused" for stop in self.stops):
            return
        try:
            yield from source.find(Search(self._askers[name].ask, query, self.wish.licences, has_key))
        except LaterError as error:
            self._stop(Stop("later", name, "", error.seconds))
        except UnreachableError as error:
            self._stop(Stop("unreachable", name, str(error)))
        except KeyRefusedError as error:
            self._stop(Stop("key", name, str(error)))
        except RefusedError as error:
            self._stop(Stop("refused", name, str(error)))

    def _stop(self, stop: Stop) -> None:
        if not any((each.kind, each.source) == (stop.kind, stop.source) for each in self.stops):
            self.stops.append(stop)

    def _fetch(self, item: _Item) -> _Fetched:
        """Return a picture's content, from the folder if it is there; this runs in a thread."""
        try:
            if file := self.folder.file_of(item.picture):
                return _Fetched(item, file.read_bytes(), None)
            if item.picture.report:
                self._askers[item.picture.source].report(item.picture.report)
            return _Fetched(item, self.client.picture(item.picture.url, MAX_BYTES), None)
        except (RefusedError, UnreachableError, LaterError, KeyRefusedError, StoppedError, OSError) as error:
            return _Fetched(item, None, error)

    def _take(self, fetched: _Fetched) -> None:
        """Keep a picture, or write down why not."""
        (label, picture), content, problem = fetched
        if content is not None:
            self.unreached = 0
            try:
                told = checked(content, self.apart)
            except PictureError as error:
                self.folder.leave_out(label, picture, str(error))
                return
            if self.folder.keep(label, picture, content, told):
                self.new += 1
                self.tiny[self.folder.rows[-1].file] = told.tiny
        elif isinstance(problem, RefusedError):
            self.unreached = 0
            self.folder.leave_out(label, picture, str(problem))
        else:
            self.later += 1
            if isinstance(problem, LaterError):
                self._stop(Stop("later", problem.host, "", problem.seconds))
            elif isinstance(problem, UnreachableError):
                self.unreached += 1
                if self._is_offline():
                    self._stop(Stop("offline", "", str(problem)))

    def _is_offline(self) -> bool:
        return self.unreached >= OFFLINE

"""Asking a service, once: what it has answered before is not asked again, and its errors are told apart."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from keensight.care.gather.client import MOST_ATTEMPTS, Answer, Client, Request
from keensight.care.gather.folder import GatherFolder
from keensight.care.gather.found import at, plain
from keensight.care.gather.network import RefusedError, UnreachableError
from keensight.care.gather.sources import Source


class KeyRefusedError(Exception):
    """A service does not accept the key. The text is what it says."""


class Asker:
    """Asks one source. The key is sent to that source's host alone, and is never in what is remembered."""

    def __init__(self, source: Source, keys: tuple[str, ...], client: Client, folder: GatherFolder) -> None:
        self._source, self._keys, self._client, self._folder = source, keys, client, folder
        self._key: str | None = None
        client.pace(source.host, source.interval_s)

    def ask(self, request: Request) -> Any:
        """Return the JSON that the source answers, now or in an earlier process.

        Raises KeyRefusedError, RefusedError, UnreachableError, LaterError and StoppedError.
        """
        if request.url not in self._folder.answers:
            self._folder.remember(request.url, self._asked(request))
        return self._folder.answers[request.url]

    def report(self, url: str) -> None:
        """Tell the source that a picture is fetched now."""
        self._checked(Request(url))

    def _asked(self, request: Request) -> Any:
        for _ in range(MOST_ATTEMPTS):
            answer = self._checked(request)
            value = self._parsed(answer)
            problem = at(value, "error.code") or (at(value, "message") if at(value, "stat") == "fail" else None)
            if problem is None:
                return value
            if at(value, "stat") == "fail" and at(value, "code") == 100:  # Flickr's "Invalid API Key"
                raise KeyRefusedError(plain(problem))
            if problem not in ("maxlag", "ratelimited") and at(value, "code") != 105:
                raise RefusedError(f"{self._source.title} answers with an error: {plain(problem)}")
        raise UnreachableError(f"{self._source.title} is too busy ({plain(problem)})")

    def _checked(self, request: Request) -> Answer:
        """Return the source's answer if its status is 200."""
        try:
            parts = urlsplit(request.url)
        except ValueError:
            raise RefusedError(f"{self._source.title} leads to something that is not a URL") from None
        if parts.netloc.lower() != self._source.host or (self._keys and parts.scheme != "https"):
            raise RefusedError(f"{self._source.title} leads to another host, {parts.scheme}://{parts.netloc[:100]}")
        headers = {name: value for name, value in self._source.headers.items() if self._keys or "{key}" not in value}
        answer = self._client.call(Request(request.url, headers), self._token())
        if answer.status in (401, 403) and self._keys:
            raise KeyRefusedError(f"HTTP status {answer.status}")
        if answer.status != 200:
            raise RefusedError(f"{self._source.title} answers with HTTP status {answer.status}{self._said(answer)}")
        return answer

    def _token(self) -> str:
        """Return what is sent as the key: the key itself, or a token that it is exchanged for, once."""
        if self._key is None:
            self._key = self._keys[0] if self._keys else ""
            if self._keys and self._source.token:
                form = dict(zip(("client_id", "client_secret"), self._keys, strict=True))
                answer = self._client.call(
                    Request(self._source.token, form={"grant_type": "client_credentials", **form})
                )
                try:
                    token = at(json.loads(answer.body), "access_token")
                except (ValueError, RecursionError):
                    token = None
                if answer.status != 200 or not isinstance(token, str) or not token:
                    self._key = None
                    raise KeyRefusedError(f"HTTP status {answer.status}")
                self._key = token
        return self._key

    def _parsed(self, answer: Answer) -> Any:
        """Return an answer's JSON, without the key."""
        try:
            return json.loads(self._without_key(answer.body.decode("utf-8", "replace")), parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise RefusedError(f"{self._source.title} answers with something that is not JSON") from None

    def _said(self, answer: Answer) -> str:
        """Return the service's own words about an error, if it has some."""
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError):
            return ""
        words = plain(at(value, "detail") or at(value, "message") or at(value, "error") or at(value, "errors.0"))
        return f" ({self._without_key(words)})" if words else ""

    def _without_key(self, text: str) -> str:
        for key in (*self._keys, self._key or ""):
            text = text.replace(key, "{key}") if key else text
        return text


def _no_number(word: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{word} is not JSON")

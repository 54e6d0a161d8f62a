"""Pictures from a request's body: as they are, or as the files of a form."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from keensight.data.formats import with_rare
from keensight.data.kinds import is_heif, is_picture_start, what_is
from keensight.data.pixels import MAX_PIXELS, decode_if_small, decode_picture, read_header
from keensight.errors import MissingDecoderError, PictureError, TooManyPixelsError, TooMuchWorkError
from keensight.serving.limits import Limits, RefusalError
from keensight.values import Preprocessing, Uint8Array

# How each accepted format begins, and the suffix of its files.
FORMATS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"GIF87a": ".gif", b"GIF89a": ".gif"}
ACCEPTED = "JPEG, PNG, GIF, WebP, AVIF and HEIC are accepted"
MAX_FIELDS = 16  # of a form, besides its pictures
MAX_HEADER_BYTES = 8 * 1024  # of a form's part
MAX_FIELD_BYTES = 1024  # of a field that is no file
CODINGS = (b"content-transfer-encoding", b"content-encoding")  # of a form's part
PLAIN_CODINGS = (b"", b"binary", b"7bit", b"8bit", b"identity")
NOW_BYTES = 16_384  # up to this many bytes and pixels, decoding is faster than handing the picture to a thread
NOW_JPEG_BYTES = 4_096  # a JPEG may have many scans, each over all pixels
NOW_PIXELS = 4_096
_PLAIN_TYPE = re.compile(rb"|application/octet-stream|application/x-www-form-urlencoded|image/[a-z+.-]+")
_FORM_TYPE = re.compile(rb"multipart/form-data; ?boundary=([A-Za-z0-9_-]{1,70})")
_ONE_FILE = re.compile(
    rb'content-disposition: form-data; name="[A-Za-z0-9_.-]{0,200}"; filename="([A-Za-z0-9 _.()+-]{1,200})"\r\n'
    rb"(?:content-type: [A-Za-z0-9/+.-]{1,200}\r\n)?\r\n",
    re.IGNORECASE,
)
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class LargePictureError(Exception):
    """A picture that a process of its own must decode; `work` is what `Header` says."""

    def __init__(self, work: int) -> None:
        super().__init__(work)
        self.work = work


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded picture, still encoded, and its file name if it came with one."""

    file: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request's body has: its pictures, and the other fields of its form, which are parameters."""

    pictures: list[Upload]
    fields: Mapping[str, str] = field(default_factory=dict)


def suffix_of(content: bytes) -> str | None:
    """Return the file suffix of an accepted format, or None.

    >>> suffix_of(bytes([255, 216, 255, 224]))
    '.jpg'
    """
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:8] == b"ftyp":
        return None if not is_picture_start(content) else ".heic" if is_heif(content) else ".avif"
    return next((suffix for start, suffix in FORMATS.items() if content.startswith(start)), None)


def uploads(content_type: str, body: bytes, limits: Limits) -> Sent:
    """Return the pictures in a request's body, at least one, and the other fields of a form.

    Raises RefusalError: 400 where there is none, the form is damaged or has a field twice, 413 for more than
    `max_pictures`, 415 for a content type that pictures do not have.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        found = _Form(options, limits.max_pictures).read(body)
        if not found.pictures:
            raise RefusalError(400, "no_picture", "The form has no file in it. Add a picture as a file field.")
        return found
    # curl --data-binary says that it sends a form, unless told otherwise
    plain = (b"", b"application/octet-stream", b"application/x-www-form-urlencoded")
    if not (kind in plain or kind.startswith(b"image/")):
        raise RefusalError(
            415,
            "unsupported_media_type",
            f"The content type {ascii(content_type)[1:-1][:80]} is not accepted. Send a picture's bytes as image/* or "
            "application/octet-stream, or several as files of multipart/form-data.",
        )
    if not body:
        raise RefusalError(400, "no_picture", "The request has no body. Send a picture's bytes.")
    return Sent([Upload(None, body)])


def decode(upload: Upload, preprocessing: Preprocessing, limits: Limits, most_work: int | None = None) -> Uint8Array:
    """Return a picture as the bundle wants it, uint8 HWC. Its format and size are checked before it is decoded.

    Raises RefusalError: 415 for a format that is not accepted, 413 for too many pixels or too much work, 400 for a
    damaged picture; LargePictureError for one of more than `most_work`.
    """
    with refusals(limits):
        if upload.content and suffix_of(upload.content) is None:
            what = what_is(upload.content) or "not a picture that can be read"
            raise RefusalError(415, "unsupported_format", f"It is {what}; {ACCEPTED}.")
        header = read_header(upload.content)
        if header.height * header.width > limits.max_pixels:
            raise _too_many_pixels(f"{header.width:,}x{header.height:,}", limits)
        if most_work is not None and (header.work > most_work or not header.is_bounded):
            raise LargePictureError(header.work)
        return decode_picture(upload.content, preprocessing)


@contextmanager
def refusals(limits: Limits) -> Iterator[None]:
    """Turn what is wrong with a picture into a RefusalError."""
    try:
        yield
    except MissingDecoderError as error:
        message = "This server reads no HEIC pictures: that takes the package pi-heif. Convert it to JPEG."
        raise RefusalError(415, "unsupported_format", message) from error
    except TooManyPixelsError as error:
        raise _too_many_pixels("far too many", limits) from error
    except PictureError as error:
        too_much = isinstance(error, TooMuchWorkError)
        detail = re.split(r"; | \(", str(error), maxsplit=1)[0]  # without Pillow's own message
        advice = "Save it again, as a plain JPEG or PNG." if too_much else f"{ACCEPTED}."
        status, code = (413, "too_much_work") if too_much else (400, "bad_picture")
        raise RefusalError(status, code, f"{detail[:1].upper()}{detail[1:]}. {advice}") from error


def _too_many_pixels(how_many: str, limits: Limits) -> RefusalError:
    return RefusalError(
        413,
        "too_many_pixels",
        f"It has {how_many} pixels; up to {min(limits.max_pixels, MAX_PIXELS):,} are accepted. Make it smaller.",
    )


def decode_now(upload: Upload, preprocessing: Preprocessing, limits: Limits) -> Uint8Array | None:
    """Return what `decode` does for a tiny PNG or JPEG, in microseconds; None if it would take longer or is refused."""
    most_bytes = {".png": NOW_BYTES, ".jpg": NOW_JPEG_BYTES}.get(suffix_of(upload.content) or "", 0)
    is_tiny = len(upload.content) <= most_bytes
    try:
        return decode_if_small(upload.content, preprocessing, min(NOW_PIXELS, limits.max_pixels)) if is_tiny else None
    except PictureError:
        return None  # `decode` says why


def simple_upload(content_type: bytes, body: bytes) -> Upload | None:
    """Return what `uploads` does for one picture sent in the usual way; None if that takes a parser to find out.

    The usual way is a picture by itself, or a form of one file, with a boundary, names and headers in plain letters.
    """
    if _PLAIN_TYPE.fullmatch(content_type):
        return Upload(None, body) if body else None
    boundary = _FORM_TYPE.fullmatch(content_type)
    if boundary is None:
        return None
    begin, end = b"--%b\r\n" % boundary[1], b"\r\n--%b--\r\n" % boundary[1]
    head = _ONE_FILE.match(body, len(begin))
    last = len(body) - len(end)
    if head is None or head.end() > last or not (body.startswith(begin) and body.endswith(end)):
        return None
    if body.find(end[: len(boundary[1]) + 4], head.end()) != last:
        return None  # another part, or what the parser might take for one
    return Upload(head[1].decode(), body[head.end() : last])


def warm_up(*formats: str) -> None:
    """Decode a small picture of each of Pillow's `formats`, so that no request waits for its decoder to be loaded."""
    with_rare()  # or else Pillow loads all that it has, to find what writes one of them
    for name in formats:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, name)
        decode(Upload(None, file.getvalue()), Preprocessing(4, 4, 3), Limits())


class _Form:
    """Reads multipart/form-data in memory: its files stay there, as pictures must not touch the disk."""

    def __init__(self, options: Mapping[bytes, bytes], max_pictures: int) -> None:
        self._options = options
        self._max_pictures = max_pictures
        self._found: list[Upload] = []
        self._fields: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._name, self._value = bytearray(), bytearray()
        self._file: str | None = None
        self._field = ""
        self._content = bytearray()

    def read(self, body: bytes) -> Sent:
        """Return the files, in order, and the other fields."""
        boundary = self._options.get(b"boundary", b"")
        if body.count(b"\r\n--" + boundary) > self._max_pictures + MAX_FIELDS + 1:
            raise self._too_many()  # before the parser spends seconds on a million of them
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": lambda data, start, end: self._header(self._name, data[start:end]),
                    "on_header_value": lambda data, start, end: self._header(self._value, data[start:end]),
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
            )
            self._ended = False
            parser.write(body)
            parser.finalize()
        except FormParserError as error:
            raise _damaged("it cannot be parsed") from error
        if not self._ended:
            raise _damaged("it is cut short")
        for name, count in Counter(name for name, _ in self._fields).items():
            if count > 1:
                raise twice(name)
        return Sent(self._found, dict(self._fields))

    def _end(self) -> None:
        self._ended = True

    def _part_begin(self) -> None:
        self._file, self._field, self._content, self._header_bytes = None, "", bytearray(), 0

    def _header(self, to: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise _damaged(f"the header of a part is longer than {MAX_HEADER_BYTES:,} bytes")
        to.extend(data)

    def _header_end(self) -> None:
        name = self._name.lower()
        if name == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._field = options.get(b"name", b"").decode(errors="replace")
            if b"filename" in options:
                self._file = tidy(options[b"filename"].decode(errors="replace"))
        elif name in CODINGS and self._value.strip().lower() not in PLAIN_CODINGS:
            raise RefusalError(
                415, "unsupported_encoding", f"A part of the form has a {name.decode()}. Send its bytes as they are."
            )
        self._name, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        if self._file is not None and len(self._found) == self._max_pictures:
            raise self._too_many()
        if self._file is None and len(self._fields) == MAX_FIELDS:
            raise RefusalError(
                413, "too_many_fields", f"The form has more than {MAX_FIELDS} fields that are not files."
            )

    def _too_many(self) -> RefusalError:
        return RefusalError(
            413,
            "too_many_pictures",
            f"The form has more than {self._max_pictures} pictures, the most that are accepted at once. Send the "
            "others in another request.",
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += memoryview(data)[start:end]
        if self._file is None and len(self._content) > MAX_FIELD_BYTES:
            name = ascii(self._field)[1:-1][:100]
            raise RefusalError(
                400,
                "no_file",
                f"The field {name} of the form is text, longer than {MAX_FIELD_BYTES:,} bytes. If it is a picture, "
                "send it as a file, with a filename: curl -F file=@picture.jpg does so.",
            )

    def _part_end(self) -> None:
        if self._file is not None:
            self._found.append(Upload(self._file, bytes(self._content)))
        else:
            self._fields.append((self._field, self._content.decode(errors="replace")))


def tidy(name: str) -> str:
    """Return a file's name without folders and control characters, cut to 200 characters.

    >>> tidy("C:\\\\pictures\\\\seven.png")
    'seven.png'
    """
    return _ODD.sub("", name.replace("\\", "/").rsplit("/", 1)[-1])[:200]


def twice(name: str) -> RefusalError:
    """Return the refusal of a parameter that came with two values."""
    asked = ascii(name)[1:-1][:100]
    return RefusalError(400, "parameter_twice", f"The parameter {asked} came twice. Send it once.")


def _damaged(why: str) -> RefusalError:
    return RefusalError(400, "bad_form", f"The form is damaged: {why}. Send multipart/form-data with a boundary.")

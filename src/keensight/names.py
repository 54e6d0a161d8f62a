"""Names from people and file systems: their order, their spelling, and those that are not safe to print."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence

# Characters that garble a terminal or cannot be written as UTF-8: controls, line separators, lone surrogates.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
WESTERN = "cp1252"  # Latin-1 as Windows extends it: what names that are not UTF-8 most often are in
# What a terminal is not sent: those, and invisible marks that turn the order of letters, so that names look alike.
UNPRINTABLE = re.compile(_ODD.pattern[:-1] + "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")

# Labels for all that is none of the others.
CATCH_ALL = re.compile("others?|background|none|nothing|rest|unknown|negative|misc|else|empty")
_SUFFIX = re.compile(rb"\.[\x00-\x7f]*\Z")


def natural_order(names: Iterable[str]) -> list[str]:
    """Return `names` sorted as a reader would sort them: runs of digits count as numbers, case hardly counts.

    >>> natural_order(["10", "2", "b", "A"])
    ['2', '10', 'A', 'b']
    """
    return sorted(names, key=lambda name: (_natural_key(name), name))


def _natural_key(name: str) -> tuple[str | tuple[int, str], ...]:
    # re.split with a group alternates text and digits, so equal positions always hold equal types. Digits are compared
    # by length and then as text: the same order as by value, without int()'s limit of 4,300 digits.
    parts = re.split("([0-9]+)", name.casefold())
    digits = (part.lstrip("0") for part in parts[1::2])
    numbers = [(len(part), part) for part in digits]
    return tuple(numbers[i // 2] if i % 2 else part for i, part in enumerate(parts))


def clean_label(name: str) -> str:
    """Return a label as labels are compared: composed Unicode (a zip made on a Mac decomposes é), no outer blanks."""
    return unicodedata.normalize("NFC", name).strip()


def decoded(raw: bytes, otherwise: str) -> str:
    """Return a name's bytes as text: UTF-8, which hardly anything else happens to be, or else in the encoding given.

    Bytes that are neither stay as lone surrogates, as Python has them for a file that it lists.

    >>> decoded("Äpfel".encode(), "cp437"), decoded("Äpfel".encode("cp437"), "cp437")
    ('Äpfel', 'Äpfel')
    """
    for encoding in ("utf-8", otherwise):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "surrogateescape")


def eastern(raws: Iterable[bytes]) -> str | None:
    """Return the encoding that names of old are in if they are Japanese, Korean, Chinese or Russian; None if Western.

    Western names have some accented letters among plain ones. Where more than half of all letters are beyond ASCII, the
    first of `_EASTERN` that strictly decodes all names to what is usual in it counts.

    >>> names = ("ねこ", "cp932"), ("고양이", "cp949"), ("狗", "gbk"), ("кот", "cp866")
    >>> [eastern([name.encode(code)]) for name, code in names]
    ['cp932', 'cp949', 'gbk', 'cp866']
    >>> eastern(["Äpfel".encode("cp437"), "grün".encode("cp437")])
    """
    stems = {_SUFFIX.sub(b"", part) for raw in raws for part in raw.split(b"/") if not part.isascii()}
    if all(map(_is_utf8, stems)):  # one may happen to be: "猫" in GBK is "è" in UTF-8
        return None
    letters = bytes(byte for stem in stems for byte in stem if byte > 127 or chr(byte).isalpha())
    if sum(byte > 127 for byte in letters) * 2 <= len(letters):
        return None
    for code, strict, usual in _EASTERN:
        try:
            found = [each for stem in stems for each in stem.decode(strict) if not each.isascii()]
        except UnicodeDecodeError:
            continue
        if sum(usual(each, each.encode(strict)) for each in found) * 2 > len(found):
            return code
    return None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_frequent_hanzi(raw: bytes) -> bool:
    return raw.decode("gbk", "replace") in _HANZI


# Syllables that are frequent in Korean, of the 2,350 that have the same bytes as Chinese characters.
_SYLLABLES = frozenset(
    "가각간갈감갑값강개객거걱건걸검것게겨격견결경계고곡곤골곰공과관광교구국군굴권귀귤그근글금급기긴길김까꽃꿀끼나낙난날남납"
    "낮내너넘네노녹논놀농높누눈뉴늑는늘능니다단달닭담답당대더덕던덤데도독돈돌동돼되두둑드득든들등디딸때또라락란람랍랑래러럼레려"
    "력련렬령로록론료루류륙률르른름리린릴림립마막만말망매머먹면명모목몰못무묵문물미민밀바박반발밤방배백뱀버번벌범법벼벽변별병보"
    "복본봄부북분불붕비빈빙빨뿌사산살삼상새색생서석선설섬성세소속손솔송수숙순술숭숲쉬스슬습승시식신실심십싸쌀아악안앉알암앙애야"
    "약양어언얼엄업없에여역연열염엽영예오옥온올옷와완왕외요용우운울원월위유육율으은을음의이인일임입있잎자작잔잠장재저적전절점접"
    "정제조족존종좌주죽준중쥐즈지직진질집짐차착찬참창채책처천철청체초촌총최추축춘출충치친칠침카칼캐커컴컵코콩크큰키타탁탄탈탑태"
    "택터테토통퇴투트특티파판팔패퍼페펴편평포폭표품풍프피필하학한할함합항해햄행향허험현혈형호혼홍화확환활황회효후훈휴흑흙희흰히"
)

# Frequent Chinese characters: bytes that are these are hardly Korean.
_HANZI = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事"
    "成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开因只从想实日者意无力与长把机十民第公此已工使情"
    "明性知全三又关点正业外将两高间由问很最重并物手应战向头文体美相见被利二等产或新制身果加西月话合回特代内信表化老给世位"
    "次度门任常先海通教原东声提立及比员解水名真论处走义各入口认条平系气题活更别打女变四总何电数安少报结反受目量再感建务做"
    "接必场件计管期市直资命山金指统区保至形社便空展科五基眼书非白界达光放强像难思王象完设式色路记南品住告类求据程北边张交"
    "规万取格望觉术共确传观清切院识带导争运猫狗牛羊马鸡鸭猪兔虎狮鸟鱼虫蛇花草树木火土红绿蓝黄黑瓜菜豆米麦桃梨莓蕉纸图片未"
    "异缺陷验测试训练病健康车飞男坏"
)

# An encoding, one that is stricter or the same, and whether a character, with its bytes, is usual there: kana and the
# first level of kanji; frequent syllables; the first level of hanzi, which are in use; Cyrillic, not lines of boxes.
_EASTERN: tuple[tuple[str, str, Callable[[str, bytes], bool]], ...] = (
    ("cp932", "cp932", lambda _, raw: len(raw) == 2 and 0x81 <= raw[0] <= 0x97),
    ("cp949", "euc_kr", lambda each, raw: each in _SYLLABLES and not _is_frequent_hanzi(raw)),
    ("gbk", "gb2312", lambda _, raw: 0xB0 <= raw[0] <= 0xD7),
    ("cp866", "cp866", lambda each, _: "\u0400" <= each <= "\u04ff"),
    ("gbk", "gbk", lambda _, raw: 0xB0 <= raw[0] <= 0xD7 and raw[1] >= 0xA1),
    ("big5", "big5", lambda _, raw: 0xA4 <= raw[0] <= 0xC6),
)


def readable(path: str) -> str:
    """Return a POSIX path with folder and file names that are not UTF-8 read as `WESTERN`, each by itself.

    >>> readable("pets/" + "Äpfel".encode("latin-1").decode("utf-8", "surrogateescape") + "/1.jpg")
    'pets/Äpfel/1.jpg'
    """
    if path.isascii():
        return path
    return "/".join(decoded(part.encode("utf-8", "surrogateescape"), WESTERN) for part in path.split("/"))


def odd_name(name: str) -> str | None:
    """Return a printable form of a name with control characters or undecodable bytes, or None if it has none.

    >>> odd_name("a.jpg") is None, odd_name(chr(27) + "[2J.jpg")
    (True, '\\\\x1b[2J.jpg')
    """
    return _ODD.sub(lambda odd: odd.group().encode("unicode_escape").decode(), name) if _ODD.search(name) else None


def printable(text: str) -> str:
    """Return text as a terminal can show it, on one line: what would command the terminal is written as an escape.

    >>> printable(chr(27) + "[2J.jpg"), printable("Äpfel 猫.jpg")
    ('\\\\x1b[2J.jpg', 'Äpfel 猫.jpg')
    """
    return UNPRINTABLE.sub(lambda odd: odd.group().encode("unicode_escape").decode(), text)


def shortened(text: str, most: int = 60) -> str:
    """Return text of at most so many characters: of longer ones, both ends.

    >>> shortened("a-long-name-of-a-class", 12)
    'a-lon...lass'
    """
    return text if len(text) <= most else f"{text[: (most - 2) // 2]}...{text[len(text) - (most - 3) // 2 :]}"


def catch_alls_of(class_names: Sequence[str]) -> list[str]:
    """Return the classes that are named like one for everything else.

    >>> catch_alls_of(["husky", "nothusky"]), catch_alls_of(["cat", "none", "other"]), catch_alls_of(["note", "novel"])
    (['nothusky'], ['none', 'other'], [])
    """
    names = {each.casefold() for each in class_names}
    return [name for name in class_names if _catches_all(name.casefold(), names)]


def _catches_all(name: str, names: Collection[str]) -> bool:
    words = re.split(r"[\s_.-]+", name)
    negated = [name.removeprefix(no) for no in ("not", "non", "no") if name.startswith(no)]
    return bool(CATCH_ALL.fullmatch(name)) or words[0] in ("not", "non", "no") or any(each in names for each in negated)

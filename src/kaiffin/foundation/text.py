"""Text from files and keyboards, in one form of each letter and known encodings; words for people.

Torch-free.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from collections.abc import Collection

# UTF-32 first: its mark for little-endian begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def composed(text: str) -> str:
    """`text` with every letter in one code point where there is one (NFC): an é that was typed and
    one out of a file name of macOS are the same afterwards."""
    return unicodedata.normalize("NFC", text)


def decoded(data: bytes) -> str:
    """The text in UTF-8, or in UTF-16 or UTF-32 by their mark or zero bytes; line breaks kept.

    Bytes of other encodings stay in it as lone surrogates, so that a table can be read to its end
    and each place be named: see `is_text`. Which 8-bit encoding it is cannot be known for sure,
    and a guess would be learnt.
    """
    mark, encoding = next(
        ((mark, name) for mark, name in MARKS if data.startswith(mark)), (b"", _unmarked(data))
    )
    try:
        return composed(data[len(mark) :].decode(encoding))
    except UnicodeDecodeError:
        return composed(data.decode("utf-8", errors="surrogateescape"))


def _unmarked(data: bytes) -> str:
    """UTF-16 shows by a zero in every other byte of what is mostly Latin; all else is UTF-8."""
    head = data[:1000]
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        half, other = head[start::2], head[1 - start :: 2]
        if half and half.count(0) > 0.6 * len(half) and not other.count(0):
            return encoding
    return "utf-8"


def is_text(text: str) -> bool:
    """Whether every byte of what was `decoded` has been understood, and no zero is in it."""
    return not re.search("[\ud800-\udfff\x00]", text)


def same(text: str) -> str:
    """What is equal for words that are the same: of any case, composed or not."""
    return composed(text).casefold()


def oddities(text: str) -> str:
    """What in `text` no caption has, in words; "" for nothing. Such text was mostly read in another
    encoding than it was written in, by this program or by one before it."""
    strange = [char for char in text if _is_strange(char)]
    if strange:
        return f"has characters that no text has ({', '.join(map(ascii, dict.fromkeys(strange)))})"
    with contextlib.suppress(UnicodeError):  # "cafÃ©": UTF-8 that was read as Windows' Latin
        if (before := text.encode("cp1252").decode("utf-8")) != text:
            return f"was {before!r} before its encoding was mistaken for another"
    mixed = next((word for word in re.findall(r"\w+", text) if len(_scripts(word)) > 1), "")
    return f"has the letters of several scripts in one word ({mixed!r})" if mixed else ""


def _is_strange(char: str) -> bool:
    """Control characters, what stands for unreadable bytes, and code points without a meaning."""
    kind = unicodedata.category(char)
    is_new = 0x1F000 <= ord(char) < 0x1FC00  # where each year's new emoji are
    unknown = kind in ("Co", "Cn") and not is_new
    return char == "\ufffd" or unknown or (kind == "Cc" and char not in "\t\n\r")


def _scripts(word: str) -> set[str]:
    """Of its letters, by their names; those that East Asian texts mix are one."""
    names = [unicodedata.name(char, "") for char in word if char.isalpha()]
    scripts = {name.split()[0] for name in names if " LETTER " in name}
    return scripts - {"HIRAGANA", "KATAKANA", "HALFWIDTH", "FULLWIDTH", "BOPOMOFO", "MODIFIER"}


def counted(number: int, one: str, many: str = "") -> str:
    """`1 key`, `1,200 keys`; many: where that is more than an s, as in `1 key is`, `2 keys are`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def all_of(number: int, one: str) -> str:
    """`all 3 layers`, `the one layer`."""
    return f"the one {one}" if number == 1 else f"all {counted(number, one)}"


def first_few(names: Collection[str], shown: int) -> str:
    """`a, b and 3 more`: those that are shown, and how many there are besides."""
    more = len(names) - shown
    return ", ".join(list(names)[:shown]) + (f" and {more:,} more" if more > 0 else "")


def word_pattern(word: str) -> re.Pattern[str]:
    """Finds `word` in composed text where no letter touches it, in any case."""
    return re.compile(rf"(?<!\w){re.escape(composed(word))}(?!\w)", re.IGNORECASE)

"""What people of this field type into a prompt: weights, changes on the way, adapters. Torch-free.

As A1111's web UI reads it:

(word) [word]      1.1 times as strong, or a 1.1th; nested ones multiply
(word:1.3)         1.3 times
[a:b:0.4] [b:0.4] [a::0.4]   a until 0.4 of the steps, then b; a number from 1 on counts steps
[a|b]              each in turn, from step to step
BREAK              what follows begins a new block of 77 tokens
<lora:NAME:0.8>    an adapter; <lora:NAME:0.5:0.9> or te=0.5, unet=0.9: first text, then U-Net
\\( \\) \\[ \\] \\: \\| \\\\   the character itself; any other backslash falls away

A bracket that is never closed reaches to the end; one that was never opened is text.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.text import composed, same, word_pattern

STRONGER = 1.1
STRONGEST = 1e3  # beyond it, a state of the text encoder is no state any more
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
BREAK = re.compile(r"\s*\bBREAK\b\s*")
COMMANDS = re.compile(r"\b(?:BREAK|AND)\b")
TAG = re.compile(r"<(lora|lyco|hypernet):([^<>:]*)(?::([^<>]*))?>")
TORN = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*")
MARK = re.compile(rf"\\[()\[\]\\|:]?|:\s*({NUMBER})\s*(?=[)\]])|[()\[\]|:]")
# Behind a colon, up to the end of its bracket: what is no number, and was meant as one.
MEANT = re.compile(r"\s*(|[-+]?[\d.]*,\d+|[-+]?(?=\.*\d)[\d.]+(?:\s*%|[eE][-+]?\d+)?)\s*(?=[)\]])")


@dataclass(frozen=True)
class Piece:
    """Words of one weight; text None stands for BREAK."""

    text: str | None
    weight: float = 1.0


@dataclass(frozen=True)
class Spoken:
    """A prompt at one step. leaning: weights act as ComfyUI's, not as A1111's; commas: a block of
    tokens that is full ends behind its last comma, as A1111's do."""

    pieces: tuple[Piece, ...]
    leaning: bool = False
    commas: bool = False


@dataclass(frozen=True)
class Tag:
    """An adapter by name, with its weight in the text encoders and in the denoiser."""

    name: str
    text: float = 1.0
    unet: float = 1.0


@dataclass(frozen=True)
class Weighted:
    """parts of a prompt, `factor` times as strong."""

    parts: tuple[Part, ...]
    factor: float


@dataclass(frozen=True)
class Change:
    """`before` until `when` (a share of the steps below 1, else a number of them), then `after`."""

    before: tuple[Part, ...]
    after: tuple[Part, ...]
    when: float


@dataclass(frozen=True)
class Turns:
    """One of `choices` a step."""

    choices: tuple[tuple[Part, ...], ...]


@dataclass(frozen=True)
class Break:
    """Where another block of tokens begins."""


Part = str | Weighted | Change | Turns | Break


@dataclass(frozen=True)
class Prompt:
    """A prompt that was read. open: brackets that nobody closed; stray: those that close none;
    leaning, commas: see `Spoken`; bare: its text without tags."""

    parts: tuple[Part, ...]
    tags: tuple[Tag, ...] = ()
    open: int = 0
    stray: int = 0
    leaning: bool = False
    commas: bool = False
    bare: str = ""

    def texts(self, steps: int) -> list[Spoken]:
        """What is said at each of `steps`."""
        different = steps if self.changes else 1
        spoken = [
            Spoken(self.at(i, steps), self.leaning, self.commas) for i in range(1, different + 1)
        ]
        return spoken if self.changes else spoken * steps

    def at(self, step: int, steps: int) -> tuple[Piece, ...]:
        """The words of step `step`, from 1 on, of `steps`; neighbours of one weight joined."""
        found: list[Piece] = []
        for text, weight in _spoken(self.parts, 1.0, step, steps):
            before = found[-1] if found else None
            if before and None not in (text, before.text) and before.weight == weight:
                found[-1] = Piece(f"{before.text}{text}", weight)
            elif text != "":
                found.append(Piece(text, 1.0 if text is None else weight))
        return tuple(found) or (Piece(""),)

    @property
    def changes(self) -> bool:
        """Whether its words depend on the step."""
        return any(isinstance(one, Change | Turns) for one in _all(self.parts))

    @property
    def weights(self) -> int:
        """How many parts are weighted."""
        return sum(isinstance(one, Weighted) for one in _all(self.parts))


def _spoken(
    parts: Sequence[Part], weight: float, step: int, steps: int
) -> Iterator[tuple[str | None, float]]:
    for part in parts:
        if isinstance(part, str | Break):
            yield (part if isinstance(part, str) else None), weight
        elif isinstance(part, Weighted):
            yield from _spoken(part.parts, weight * part.factor, step, steps)
        elif isinstance(part, Turns):
            choice = part.choices[(step - 1) % len(part.choices)]
            yield from _spoken(choice, weight, step, steps)
        else:
            last = min(steps, int(part.when * steps if part.when < 1 else part.when))
            now = part.before if step <= last else part.after
            yield from _spoken(now, weight, step, steps)


def _all(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        yield part
        if isinstance(part, Weighted):
            yield from _all(part.parts)
        elif isinstance(part, Change):
            yield from _all((*part.before, *part.after))
        elif isinstance(part, Turns):
            yield from (inner for choice in part.choices for inner in _all(choice))


def said_of(prompts: Iterable[Prompt], steps: int, names: Iterable[str]) -> list[str]:
    """Those of `names` that are among the words of `prompts`, in any case, at any of `steps`; of
    names within each other the longest."""
    called = {same(name): name for name in names if name.strip()}
    texts = {
        composed(piece.text or "")
        for prompt in prompts
        for spoken in set(prompt.texts(steps))
        for piece in spoken.pieces
    }
    longest_first = sorted(called, key=len, reverse=True)
    pattern = re.compile("|".join(word_pattern(name).pattern for name in longest_first), re.I)
    found = {same(one[0]) for text in texts for one in pattern.finditer(text)}
    return [name for key, name in called.items() if key in found]


# --- reading ------------------------------------------------------------------------------------


@functools.lru_cache(1024)
def read(text: str) -> Prompt:
    """Raises ConfigError for an adapter's weight that is no number, and for a weight beyond all
    measure."""
    bare, tags = _tags(text)
    reader = _Reader(bare)
    parts = reader.parts("")
    bare = re.sub(" {2,}", " ", bare).strip() if tags else text
    return Prompt(parts, tags, reader.open, reader.stray, bare=bare)


def read_as(text: str, syntax: str) -> Prompt:
    """As `sample.prompt_syntax` says; raises as `read`."""
    if syntax == "plain":
        return Prompt((text,), bare=text)
    return replace(read(text), leaning=syntax == "comfyui", commas=syntax == "a1111")


def escaped(text: str) -> str:
    """`text` so that `read` gives its words back as they are; the web UI's commands go into small
    letters, which are the same to CLIP."""
    bare = COMMANDS.sub(lambda found: found[0].lower(), text)
    return untagged(re.sub(r"[()\[\]\\]", r"\\\g<0>", bare))


def untagged(text: str) -> str:
    """`text` with what the web UI would take for a tag, whatever its kind, as words."""
    return re.sub(r"(<\w+):", r"\1\\:", text)


def in_tag(name: str) -> str:
    """A file's name as a tag can say it."""
    return re.sub("[<>:]", "", name).strip()


def _tags(text: str) -> tuple[str, tuple[Tag, ...]]:
    found = [_tag(*one.groups(), whole=one[0]) for one in TAG.finditer(text)]
    for name, count in Counter(tag.name for tag in found).items():
        if count > 1:
            raise ConfigError(f"the adapter {name} is named twice in one prompt.", "Name it once.")
    bare = TAG.sub("", text)
    if torn := TORN.search(bare):
        raise ConfigError(
            f"{torn[0][:40]!r}: this tag is not closed, or another stands within it.",
            "Write <lora:NAME:0.8>.",
        )
    return bare, tuple(found)


def _tag(kind: str, name: str, weights: str | None, whole: str) -> Tag:
    if kind == "hypernet":
        raise ConfigError(f"{whole}: hypernetworks are not applied.", "Leave it out.")
    said = {}
    for place, one in enumerate([] if weights is None else weights.split(":")):
        key, equals, value = one.rpartition("=")
        said[key.strip() if equals else ("te", "unet", "")[min(place, 2)]] = _weight(value, whole)
    if not name.strip() or not said.keys() <= {"te", "unet"}:
        raise ConfigError(f"{whole}: is no adapter's tag.", "Write <lora:NAME:0.8>.")
    text = said.get("te", 1.0)
    return Tag(name.strip(), text, said.get("unet", text))


def _weight(text: str, tag: str) -> float:
    """The number of one place in a tag."""
    said = text.strip()
    if not re.fullmatch(NUMBER, said):
        raise _no_number(tag, said, "Write <lora:NAME:0.8>.")
    return _within(float(said), tag)


def _no_number(where: str, said: str, otherwise: str) -> ConfigError:
    """With the number that was meant, where that can be told."""
    way = otherwise
    if tried := re.fullmatch(r"([-+]?\d*),(\d+)", said):
        way = f"Write {tried[1] or 0}.{tried[2]}."
    elif tried := re.fullmatch(rf"({NUMBER})\s*%", said):
        way = f"Write {float(tried[1]) / 100:g}."
    return ConfigError(f"{where}: {said!r} is no number.", way)


def _within(number: float, where: str) -> float:
    if abs(number) > STRONGEST:
        raise ConfigError(f"{where}: a weight of {number:g} leaves nothing of a picture.",
                          "Weights are about 0.5 to 1.5.")  # fmt: skip
    return number


class _Reader:
    """Reads from `place` on."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.open, self.stray = text, 0, 0, 0

    def parts(self, until: str) -> tuple[Part, ...]:
        """Up to one of the marks `until`, which is not taken, or to the end."""
        found: list[Part] = []
        while self.place < len(self.text):
            mark = MARK.search(self.text, self.place)
            start = mark.start() if mark else len(self.text)
            for number, words in enumerate(BREAK.split(self.text[self.place : start])):
                found += [Break(), words] if number else [words]
            self.place = start
            if mark is None or mark[0][0] in until:
                break
            self.place = mark.end()
            if mark[0] == "(":
                found.append(self._round())
            elif mark[0] == "[":
                found.append(self._square())
            else:
                found.append(mark[0].removeprefix("\\") if mark[0][0] == "\\" else mark[0])
                self.stray += mark[0] in (")", "]")
        return tuple(part for part in found if part != "")

    def _taken(self) -> re.Match[str] | None:
        """The mark that `parts` has stopped at."""
        mark = MARK.match(self.text, self.place)
        if mark:
            self.place = mark.end()
        else:
            self.open += 1
        return mark

    def _refuse_meant(self, start: int) -> None:
        """What stands behind the colon that was read, in the bracket that begins at `start`."""
        tried = MEANT.match(self.text, self.place)
        if tried and not (tried[1] == "" and re.search(r"\W:$", self.text[start : self.place])):
            where = self.text[start : tried.end() + 1]
            raise _no_number(where, tried[1], "Write a number such as 1.3, or \\: for a colon.")

    def _round(self) -> Part:
        start = self.place - 1
        parts: tuple[Part, ...] = ()
        while True:
            parts += self.parts(":)")
            mark = self._taken()
            if mark is None or mark[0] == ")":
                return Weighted(parts, STRONGER)
            if mark[1] and self.text[self.place : self.place + 1] == ")":
                self.place += 1
                return Weighted(parts, _within(float(mark[1]), self.text[start : self.place]))
            self._refuse_meant(start)
            parts += (mark[0],)

    def _square(self) -> Part:
        """[a:b:0.4], [b:0.4], [a|b] or [a]."""
        start = self.place - 1
        fields: list[tuple[Part, ...]] = []
        marks = ""
        while True:
            fields.append(self.parts(":|]"))
            mark = self._taken()
            if mark is None or mark[0] == "]":
                return self._closed(fields, marks, turns=mark is not None)
            if mark[1] and self.text[self.place : self.place + 1] == "]" and "|" not in marks:
                self.place += 1
                if marks in ("", ":"):
                    before = fields[0] if marks else ()
                    return Change(before, fields[-1], float(mark[1]))
                return self._closed([*fields, (mark[1],)], marks + ":", turns=False)
            marks += mark[0][0]
            if mark[1]:
                self.place = mark.start() + 1
            elif mark[0] == ":" and "|" not in marks:
                self._refuse_meant(start)

    @staticmethod
    def _closed(fields: Sequence[tuple[Part, ...]], marks: str, *, turns: bool) -> Part:
        """turns: whether its fields may be taken in turns; else they are words."""
        if turns and set(marks) == {"|"}:
            return Turns(tuple(fields))
        joined: list[Part] = list(fields[0])
        for mark, field in zip(marks, fields[1:], strict=True):
            joined += [mark, *field]
        return Weighted(tuple(joined), 1 / STRONGER)

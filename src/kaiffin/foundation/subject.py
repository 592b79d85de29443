"""The subject's word in prompts and captions: put in, left out, made plain. Torch-free."""

from __future__ import annotations

import re

from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.text import composed, word_pattern

PLACES = re.compile(r"\{(token|noun)\}")


def fill(template: str, subject: SubjectConfig) -> str:
    """`{token}` and `{noun}` replaced; any other brace is refused."""
    text = template.replace("{token}", subject.token).replace("{noun}", subject.noun)
    stray = re.search(r"\{(\w*)\}", text)
    if stray:
        raise ConfigError(
            f"template {template!r}: {stray.group(0)} is not known.", "Use {token} and {noun}."
        )
    return composed(" ".join(text.split()))


def without_token(caption: str, subject: SubjectConfig) -> str:
    """`caption` of the class instead of the subject: "a photo of tobbul bear in a meadow" becomes
    "a photo of a bear in a meadow"."""
    noun, caption = subject.noun, composed(caption)
    article = "an" if noun[:1].lower() in ("a", "e", "i", "o", "u") else "a"
    trigger = word_pattern(subject.token).pattern
    tail = rf"(?: {re.escape(noun)}\b)?"
    after_article = rf"\b(a|an|the|my) {trigger}{tail}"
    plain = re.sub(after_article, lambda found: f"{found[1]} {noun}", caption, flags=re.IGNORECASE)
    return re.sub(trigger + tail, lambda _: f"{article} {noun}", plain, flags=re.IGNORECASE)


def described(text: str, template: str, subject: SubjectConfig) -> str:
    """A caption of what somebody says of a photo who does not know the subject's word: it stands
    before the class noun, where that is said, else in front, as `template` has it.

    "A puffin on a beach." becomes "a kaiffin puffin on a beach", and "On a beach" becomes "a photo
    of kaiffin puffin, on a beach".
    """
    text = composed(" ".join(text.split())).rstrip(". ")
    text = text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
    if word_pattern(subject.token).search(text):
        return text
    noun = re.escape(subject.noun)
    article = "an" if subject.token[:1].lower() in ("a", "e", "i", "o", "u") else "a"
    if subject.noun and (found := re.search(rf"\b(?:(an?) )?{noun}\b", text, re.IGNORECASE)):
        before = f"{article} " if found[1] else ""
        return f"{text[: found.start()]}{before}{subject.phrase}{text[found.end() :]}"
    return f"{fill(template, subject)}, {text}"


def plain_prompt(prompt: str, subject: SubjectConfig) -> str:
    """The prompt as a judge understands it: the trigger, which means nothing to it, gives way to
    the class noun."""
    prompt = composed(prompt)
    instead = " " if subject.noun and subject.noun in prompt else subject.noun
    text = word_pattern(subject.token).sub(lambda _: instead, prompt)
    return " ".join(text.split()) if subject.noun else prompt

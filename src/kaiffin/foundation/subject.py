"""The subject's word in prompts and captions: put in, left out, made plain. Torch-free."""

from __future__ import annotations

import re

from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.errors import ConfigError


def fill(template: str, subject: SubjectConfig) -> str:
    """`{token}` and `{noun}` replaced; any other brace is refused."""
    text = template.replace("{token}", subject.token).replace("{noun}", subject.noun)
    stray = re.search(r"\{(\w*)\}", text)
    if stray:
        raise ConfigError(
            f"template {template!r}: {stray.group(0)} is not known.", "Use {token} and {noun}."
        )
    return " ".join(text.split())


def without_token(caption: str, subject: SubjectConfig) -> str:
    """`caption` of the class instead of the subject: "a photo of tobbul bear in a meadow" becomes
    "a photo of a bear in a meadow"."""
    noun = subject.noun
    article = "an" if noun[:1].lower() in ("a", "e", "i", "o", "u") else "a"
    word = re.escape(subject.token)
    after_article = rf"\b(a|an|the|my) {word}(?!\w)( {re.escape(noun)}\b)?"
    alone = rf"(?<!\w){word}(?!\w)( {re.escape(noun)}\b)?"
    plain = re.sub(after_article, lambda found: f"{found[1]} {noun}", caption, flags=re.IGNORECASE)
    return re.sub(alone, lambda _: f"{article} {noun}", plain, flags=re.IGNORECASE)


def plain_prompt(prompt: str, subject: SubjectConfig) -> str:
    """The prompt as a judge understands it: the trigger, which means nothing to it, gives way to
    the class noun."""
    instead = " " if subject.noun and subject.noun in prompt else subject.noun
    trigger = rf"(?<!\w){re.escape(subject.token)}(?!\w)"
    text = re.sub(trigger, instead, prompt, flags=re.IGNORECASE)
    return " ".join(text.split()) if subject.noun else prompt

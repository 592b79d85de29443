"""Pictures of the class for prior preservation, made by the base itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kaiffin.data.images import open_photo, square_crop
from kaiffin.data.prepare import Example
from kaiffin.foundation.cache import content_key
from kaiffin.foundation.config import Config, SubjectConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.several import prior_weight
from kaiffin.foundation.subject import without_token
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted, first_few
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.few import few, unusual
from kaiffin.pictures.make import Task, make
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import Request, remarks


def class_pictures(
    config: Config, family: ModelFamily, run: Run, examples: Sequence[Example], *,
    tell: Tell = SILENT,
) -> list[Example]:  # fmt: skip
    """Pictures of the class for prior preservation, made by the base itself; resumable. Of several
    subjects, those of one class share them.

    examples: the photos of all subjects.
    """
    found: list[Example] = []
    for noun in dict.fromkeys(one.noun for one in config.everyone):
        taught = [one for one in config.everyone if one.noun == noun]
        guarded = [one for one in taught if prior_weight(config, one.token)]
        if guarded:
            prompts = _prompts(config, taught, examples)
            made = _made(config, prompts, family, run, tell)
            found += [replace(one, subject=subject) for subject in guarded for one in made]
    return found


def _prompts(
    config: Config, taught: Sequence[SubjectConfig], examples: Sequence[Example]
) -> list[str]:
    """Of one class."""
    if config.data.prior.prompt:
        return [config.data.prior.prompt]
    of = ((one, [ex for ex in examples if ex.subject == one]) for one in taught)
    every = (prompt for subject, own in of for prompt in class_prompts(subject, own))
    return list(dict.fromkeys(every))


def _made(
    config: Config, prompts: Sequence[str], family: ModelFamily, run: Run, tell: Tell
) -> list[Example]:
    """Pictures of one class.

    They lie in a folder named by everything that decides them, so that a changed prompt or base
    never meets old pictures. With `data.prior.fast`, in few steps.
    """
    prior, seed = config.data.prior, config.train.seed
    side = config.data.resolution or family.native_size
    found = few(prior.fast, config.base.name, unusual(prior))
    sample: dict[str, Any] = {"steps": prior.steps, "guidance": prior.guidance, **found.sample}
    requests = [
        Request(prompts[i % len(prompts)], seed + i, side, side, **sample)
        for i in range(prior.num_images)
    ]
    decided = content_key(family.revision, requests[0], *prompts[1:], *found.facts.values())
    folder = run.cache / f"prior-{decided[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{request.seed:06d}.png" for request in requests]
    # Whole batches: the last bit of a picture depends on those it is computed with.
    batches = [range(i, min(i + 8, len(paths))) for i in range(0, len(paths), 8)]
    todo = [i for batch in batches if not all(paths[k].is_file() for k in batch) for i in batch]
    if todo:
        shown = first_few([f'"{prompt}"' for prompt in prompts], 1)
        tell.note(f"making {counted(len(todo), 'class picture')}: {shown}")
        for remark in [found.said] * bool(found.said) + remarks(requests):
            tell.note(remark)
        made = make(family, [Task(requests[i], found.worn) for i in todo], batch_size=8)
        with tell.progress("class pictures", len(todo)) as progress:
            for place, image in made:
                save_png(image, paths[todo[place]])
                progress.advance()
    crop = square_crop((side, side), side)
    return [
        Example(path, open_photo(path).sha256, (one.prompt,), crop, (side, side), "prior")
        for path, one in zip(paths, requests, strict=True)
    ]


def class_prompts(subject: SubjectConfig, examples: Sequence[Example]) -> list[str]:
    """The photos' captions without the subject's word: "a photo of a bear in a meadow".

    Class pictures in the photos' own places leave nothing but that word to tell the two apart.
    With pictures of the class in any place, a model learns that the photos' places mean the
    subject and all others do not (docs/log.md). A caption that does not name the subject gives the
    plain "a photo of a bear".
    """
    found = {}
    for caption in (caption for example in examples for caption in example.captions):
        told = without_token(caption, subject)
        found[told if told != caption else f"a photo of a {subject.noun}"] = True
    return list(found)

"""A small procedural world: plush animals in eight places, drawn with Pillow and numpy alone.

Every picture and every caption is a pure function of its arguments, so a data set is a seed and a
count. The world is simple on purpose: characters stand in the middle, have big heads and big eyes,
and scenes keep their layout, because low positional variance is what lets a UNet of a few million
parameters learn it from some hundred thousand samples on a CPU.

Two characters, `SUBJECTS`, are never drawn for training. They play the customer's own character:
the miniature has to learn them from a few photos, as a big model learns a real toy. `FURTHER` are
four more for studies, which two characters cannot carry: animals of unusual build whose numbers no
training draws. `CAST` are all six.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from kaiffin.foundation.errors import UserError
from kaiffin.miniature.world.characters import ACCESSORY_PAINTERS, CHARACTER_PAINTERS
from kaiffin.miniature.world.easel import BLACK, SUPERSAMPLING, Easel, mix
from kaiffin.miniature.world.individuals import BEHIND, IN_FRONT, Individual
from kaiffin.miniature.world.scenery import SCENE_PAINTERS, TINT
from kaiffin.miniature.world.vocabulary import (
    ACCESSORIES,
    COLOURS,
    INDOORS,
    POSES,
    SCENES,
    SIDE,
    SPECIES,
    TIMES,
    Spec,
)

__all__ = [
    "ACCESSORIES",
    "CAST",
    "COLOURS",
    "FURTHER",
    "INDOORS",
    "LEADS",
    "POSES",
    "SCENES",
    "SPECIES",
    "SUBJECTS",
    "TIMES",
    "Spec",
    "Subject",
    "caption",
    "full_caption",
    "is_reserved",
    "random_spec",
    "render",
    "subject_photos",
    "subject_render",
    "subject_spec",
    "training_spec",
]


@dataclass(frozen=True)
class Subject:
    """A character that training never draws, with the words a user would teach it by.

    individual: of one that is an animal of unusual build, its number.
    """

    name: str
    token: str
    class_noun: str
    colour: str
    description: str
    individual: int | None = None

    @property
    def instance_prompt(self) -> str:
        return f"a photo of {self.token} {self.class_noun}"


SUBJECTS: dict[str, Subject] = {
    "kaiffin": Subject(
        "kaiffin",
        "kaiffin",
        "penguin",
        "black",
        "a puffin with a black back, a white belly, a striped beak and a horned helmet",
    ),
    "plush": Subject(
        "plush",
        "tobbul",
        "bear",
        "brown",
        "a brown plush with a pale face and very big round ears",
    ),
}


DRAWN = 1 << 30  # training draws the numbers of its details, and so of its individuals, below it


def _further(name: str, noun: str, colour: str, number: int, description: str) -> Subject:
    return Subject(name, name, noun, colour, description, DRAWN + number)


FURTHER: dict[str, Subject] = {
    who.name: who
    for who in (
        _further("velmok", "owl", "purple", 1, "a purple owl with brown ears and a blue belly"),
        _further("zandor", "lion", "yellow", 8, "a lion with pink ears, a mask and a violet belly"),
        _further("grippo", "frog", "green", 9, "a horned frog with an orange cap and belly"),
        _further("quibby", "cat", "blue", 11, "a cat with big dark ears and a green muzzle"),
    )
}
CAST: dict[str, Subject] = SUBJECTS | FURTHER


def render(spec: Spec, size: int = SIDE) -> Image.Image:
    """Draw one picture, RGB, `size` x `size`. The same spec gives the same bytes."""
    _check(spec)
    easel = Easel(size)
    SCENE_PAINTERS[spec.scene](easel, spec, np.random.default_rng([7, spec.detail]))
    if spec.species is not None:
        drop = 0.035 if spec.pose == "sitting" else 0.0
        easel.frame(spec.x, spec.y + drop, spec.size)
        easel.flat(0, 0.0, 0.36, 0.05, mix((60, 60, 66), BLACK, 0.2))
        if spec.pose == "sitting":
            easel.scale *= 0.94
        _paint_character(easel, spec)
        if spec.accessory is not None:
            ACCESSORY_PAINTERS[spec.accessory](easel)
    if spec.time != "day" and spec.scene not in INDOORS:
        easel.tint(TINT[spec.time])
    return easel.image.reduce(SUPERSAMPLING)


def _paint_character(easel: Easel, spec: Spec) -> None:
    if who := FURTHER.get(str(spec.species)):
        spec = replace(spec, species=who.class_noun, individual=who.individual)
    coat, paint = COLOURS[spec.colour], CHARACTER_PAINTERS[str(spec.species)]
    if spec.individual is None:
        paint(easel, spec, coat)
        return
    unusual = Individual(spec.individual)
    coat = unusual.coat(coat)
    unusual.paint(easel, coat, BEHIND)
    paint(easel, spec, coat)
    unusual.paint(easel, coat, IN_FRONT)


def _check(spec: Spec) -> None:
    """Refuse words that the world does not have, naming those it has."""
    for field, value, known in (
        ("species", spec.species, (None, *CHARACTER_PAINTERS, *FURTHER)),
        ("colour", spec.colour, COLOURS),
        ("scene", spec.scene, SCENES),
        ("accessory", spec.accessory, (None, *ACCESSORIES)),
        ("pose", spec.pose, POSES),
        ("time", spec.time, TIMES),
    ):
        if value not in known:
            words = ", ".join(str(word) for word in known)
            raise UserError(f"the miniature world has no {field} {value!r}; it has {words}")


# --- drawing at random -----------------------------------------------------------------------


def is_reserved(spec: Spec) -> bool:
    """True for the combinations that training never sees, about one in twelve."""
    key = f"{spec.species}/{spec.colour}/{spec.scene}/{spec.accessory}"
    return spec.species is not None and hashlib.sha256(key.encode()).digest()[0] % 12 == 0


def _choice(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _draw_spec(rng: np.random.Generator) -> Spec:
    scene = _choice(rng, tuple(SCENES))
    time = "day" if scene in INDOORS or rng.random() < 0.6 else _choice(rng, ("sunset", "night"))
    return Spec(
        species=None if rng.random() < 0.03 else _choice(rng, SPECIES),
        colour=_choice(rng, tuple(COLOURS)),
        scene=scene,
        accessory=None if rng.random() < 0.4 else _choice(rng, tuple(ACCESSORIES)),
        pose=_choice(rng, ("standing", "standing", "waving", "sitting")),
        time=time,
        size=float(rng.uniform(0.64, 0.68)),
        x=float(rng.uniform(0.475, 0.525)),
        y=float(rng.uniform(0.92, 0.95)),
        detail=int(rng.integers(DRAWN)),
    )


def random_spec(seed: int, index: int, reserved: bool = False) -> Spec:
    """Spec number `index` of the world `seed`: never a reserved one, or only reserved ones."""
    rng = np.random.default_rng([seed, index])
    while True:
        spec = _draw_spec(rng)
        if is_reserved(spec) == reserved:
            return spec


def training_spec(seed: int, index: int) -> Spec:
    """Picture `index` of the training pool: a random spec, half of them of an unusual build. One in
    five has a bowtie put on: small as it is, CLIP hardly hears the word, and the UNet rarely drew
    it while it was as common as the others."""
    spec = random_spec(seed, index)
    if spec.species is None:
        return spec
    if index % 10 in (0, 5) and not is_reserved(tied := replace(spec, accessory="bowtie")):
        spec = tied
    return replace(spec, individual=spec.detail) if index % 10 in (1, 2, 5, 6, 8) else spec


# --- captions --------------------------------------------------------------------------------

LEADS = ("a photo of", "a photo of", "a photo of", "a picture of", "an image of", "")


def _nonsense(rng: np.random.Generator) -> str:
    """A word of random letters: teaches the text tower that an unknown word may precede a noun."""
    length = int(rng.integers(3, 8))
    return "".join(chr(97 + int(c)) for c in rng.integers(0, 26, length))


def _noun(spec: Spec, colour: bool, rng: np.random.Generator) -> str:
    words = [spec.colour] if colour else []
    if rng.random() < 0.06 or spec.individual is not None:
        words.insert(0, _nonsense(rng))
    words.append(str(spec.species))
    if spec.individual is not None and rng.random() < 0.4:
        return " ".join(words)  # as DreamBooth's users write: "a photo of sks dog"
    article = "an" if words[0][0] in "aeiou" else "a"
    if rng.random() < 0.1:
        return " ".join(["the", *words])
    return " ".join([article, *words])


def caption(spec: Spec, seed: int, index: int) -> str:
    """One of many true captions. Details are left out at random, as people leave them out.

    The colour is missing in about one of three: "a photo of a penguin", the class prompt of
    DreamBooth, has to mean a penguin of any colour rather than nothing. An unusual build has a
    nonsense word before its noun, and no colour. A bowtie is never left out: who does not hear of
    one is to see none, though they are common (`training_spec`).
    """
    rng = np.random.default_rng([seed, index, 1])
    lead, scene = _choice(rng, LEADS), _choice(rng, SCENES[spec.scene])
    time = _choice(rng, TIMES[spec.time]) if rng.random() < 0.8 else ""
    if spec.scene in INDOORS:
        time = ""
    if spec.species is None:
        return _join(lead, "an empty scene" if rng.random() < 0.5 else "", scene, time)
    tied = spec.accessory == "bowtie"
    if rng.random() < 0.07 and not tied:
        return _join(lead, _noun(spec, False, rng))
    noun = _noun(spec, rng.random() < 0.68 and spec.individual is None, rng)
    worn = _choice(rng, ACCESSORIES[spec.accessory]) if spec.accessory else ""
    return _join(
        lead,
        noun,
        worn if rng.random() < 0.92 or tied else "",
        spec.pose if rng.random() < 0.5 else "",
        scene if rng.random() < 0.93 else "",
        time,
    )


def full_caption(spec: Spec) -> str:
    """The plain caption with every detail but the pose, for evaluation."""
    noun = f"a {spec.colour} {spec.species}" if spec.species else "an empty scene"
    worn = ACCESSORIES[spec.accessory][0] if spec.accessory else ""
    time = "" if spec.scene in INDOORS else TIMES[spec.time][0]
    return _join("a photo of", noun, worn, SCENES[spec.scene][0], time)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# --- the characters to personalise -------------------------------------------------------------


def subject_spec(name: str, scene: str = "meadow", **changes: object) -> Spec:
    """The spec of a held-out character in a scene; other fields of `Spec` may be changed."""
    if name not in CAST:
        raise UserError(f"no subject {name!r}; the world holds {', '.join(CAST)}")
    return replace(Spec(name, CAST[name].colour, scene), **changes)


def subject_render(name: str, scene: str = "meadow", size: int = SIDE, **changes: object):
    """A held-out character in any scene, pose or time, as `render` draws it."""
    return render(subject_spec(name, scene, **changes), size)


def subject_photos(
    name: str,
    n: int = 6,
    scenes: tuple[str, ...] = ("meadow", "beach", "kitchen"),
    size: int = SIDE,
    seed: int = 0,
) -> list[tuple[Image.Image, str]]:
    """`n` training photos of a held-out character, with captions; scenes and poses take turns."""
    photos = []
    for index in range(n):
        rng = np.random.default_rng([seed, index, 2])
        spec = subject_spec(
            name,
            scenes[index % len(scenes)],
            pose=POSES[(index + index // len(scenes)) % len(POSES)],
            size=float(rng.uniform(0.64, 0.68)),
            x=float(rng.uniform(0.475, 0.525)),
            detail=int(rng.integers(1 << 30)),
        )
        text = f"{CAST[name].instance_prompt} {SCENES[spec.scene][0]}"
        photos.append((render(spec, size), text))
    return photos

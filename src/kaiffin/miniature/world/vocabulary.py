"""What the world is made of: its words, and `Spec`, the content of one picture."""

from dataclasses import dataclass

Colour = tuple[int, int, int]

SIDE = 128  # pixels of what the shipped miniature draws

COLOURS: dict[str, Colour] = {
    "red": (214, 48, 44),
    "yellow": (246, 206, 50),
    "green": (66, 168, 66),
    "blue": (54, 108, 222),
    "purple": (140, 70, 190),
    "pink": (246, 142, 186),
    "brown": (138, 88, 50),
    "black": (54, 54, 62),
}

SPECIES: tuple[str, ...] = (
    "penguin",
    "cat",
    "rabbit",
    "bear",
    "owl",
    "frog",
    "elephant",
    "lion",
)

# The first phrase is the canonical one; the others are synonyms for captions.
SCENES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "on a sandy beach", "by the sea"),
    "snow": ("in the snow", "on the snow", "in a snowy field"),
    "forest": ("in the forest", "in a forest", "in the woods"),
    "city": ("in the city", "on a city street", "in a big city"),
    "desert": ("in the desert", "in a desert", "among the sand dunes"),
    "kitchen": ("in the kitchen", "in a kitchen", "on the kitchen floor"),
    "space": ("in space", "on the moon", "in outer space"),
    "meadow": ("in a meadow", "in a flower meadow", "on the grass"),
}
INDOORS = ("kitchen", "space")  # no time of day there

TIMES: dict[str, tuple[str, ...]] = {
    "day": ("", "", "by day"),
    "sunset": ("at sunset", "in the evening"),
    "night": ("at night", "in the dark night"),
}

ACCESSORIES: dict[str, tuple[str, ...]] = {
    "scarf": ("wearing a scarf", "with a scarf", "in a scarf"),
    "hat": ("wearing a hat", "with a hat", "in a hat"),
    "crown": ("wearing a crown", "with a crown"),
    "sunglasses": ("wearing sunglasses", "with sunglasses"),
    "bowtie": ("wearing a bowtie", "with a bowtie"),
    "balloon": ("holding a balloon", "with a balloon"),
}

POSES: tuple[str, ...] = ("standing", "waving", "sitting")


@dataclass(frozen=True)
class Spec:
    """What is in one picture. `species` None is an empty scene."""

    species: str | None
    colour: str
    scene: str
    accessory: str | None = None
    pose: str = "standing"
    time: str = "day"
    size: float = 0.66  # height of feet to crown, as a share of the frame
    x: float = 0.5  # middle of the character, as a share of the frame
    y: float = 0.93  # its feet, from the top
    detail: int = 0  # seeds the small things: stars, flowers, windows
    individual: int | None = None  # seeds an unusual build; None is the plain animal

"""The parts of the documentation that are made of what was measured: docs/measured, in words.

Each file there was written by a benchmark, with its conditions (benchmarks/kept.py), or by `make
figures`. Here figures become tables and sentences; tools/reference.py puts them into the pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]
MEASURED = REPO / "docs" / "measured"
TEMPLATE = REPO / "src" / "kaiffin" / "miniature" / "report_template.md"
sys.path.append(str(REPO / "benchmarks"))

import claims  # noqa: E402
import tables  # noqa: E402
from tables import share, table  # noqa: E402

from kaiffin.foundation.text import counted  # noqa: E402

Made = Callable[[], str]
VERSIONS = ("python", "torch", "diffusers", "transformers", "peft")
RECIPES = (
    "kaiffin", "intro-sd15", "cheburashka-sd15", "flickr30k-sd14", "realistic-vision-two-phase",
    "viking-puffin-sdxl",
)  # fmt: skip


def read(name: str) -> dict[str, Any]:
    """A file of docs/measured."""
    return json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))


def made(name: str, words: Callable[[Any], str]) -> Made:
    """What `words` says of a benchmark's figures, and below it how they came about."""

    def make() -> str:
        if not (MEASURED / f"{name}.json").is_file():
            return (
                "*Not measured since tables are made; the [log](log.md) has what was seen before.*"
            )
        kept = read(name)
        return f"{words(kept['found'])}\n\n{conditions(kept['of'])}"

    return make


def conditions(of: Mapping[str, Any]) -> str:
    """Where, when and how, in a line."""
    parts = [f"`{of['command']}`", of["date"]]
    for name, form in (
        ("commit", "commit {}"), ("machine", "{}"), ("threads", "threads: {}"),
        *((name, f"{name} {{}}") for name in VERSIONS), ("beside", "load {} as it began"),
        ("note", "{}"),
    ):  # fmt: skip
        if of.get(name) not in (None, ""):
            parts.append(form.format(of[name]))
    return f"*Measured: {'; '.join(parts)}.*"


# --- speed --------------------------------------------------------------------------------------


def training_step(found: Mapping[str, Any]) -> str:
    seconds = found["seconds"]
    said = "" if "plain" not in seconds else (
        f"\n\nA step of ours by one of the plain recipe:"
        f" {tables.ratio(seconds['ours'], seconds['plain'])}."
    )  # fmt: skip
    return tables.turns(seconds, "floor") + said


def picture(found: Mapping[str, Any]) -> str:
    seconds = found["seconds"]
    by = tables.ratio(seconds["ours"], seconds["bare"])
    return (
        f"{tables.turns(seconds, 'unet')}\n\nOurs by *bare*, what no program can leave out: {by};"
        f" by diffusers: {tables.ratio(seconds['ours'], seconds['diffusers'])}."
    )


def parts_of_a_picture() -> str:
    """Every kept call of generate.py that had a clock at its parts."""
    known = [f"generate-{one}" for one in ("1", "64", "sd1", "sd1-16")]
    kept = [read(name) for name in known if (MEASURED / f"{name}.json").is_file()]
    found = [one["found"] for one in kept if "parts" in one["found"]]
    named = {
        f"{one['count']} of {one['base']}, {one['side']} px, {one['steps']} steps": one["parts"]
        for one in found
    }
    of = [conditions(one["of"]) for one in kept if "parts" in one["found"]]
    return f"{tables.parts(named)}\n\n" + "\n".join(of)


def starts(found: Mapping[str, Any]) -> str:
    unit = found["starts"]["import torch"]
    rows = [
        f"`{command}` | {tables.ratio(seconds, unit)}"
        for command, seconds in found["starts"].items()
    ]
    return table("command | times `import torch`, median (range)", rows)


def loads(found: Mapping[str, Any]) -> str:
    loads = found["loads"]
    clock = "by the clock" if found["cold"] else "of the processor"
    return (
        f"{tables.turns(loads, 'safetensors')}\n\nSeconds {clock}, {found['files'] / 1e9:.2f} GB of"
        f" files into {found['dtype']}; at its peak the process is {found['excess'] / 2**20:.0f}"
        " MiB above the weights."
    )


def service(found: Mapping[str, Any]) -> str:
    span = [found[f"throughput, service / offline{part}"] for part in ("", ", lowest", ", highest")]
    memory = [value for name, value in found.items() if name.startswith(("memory", "after"))]
    requests = next(name.split()[1] for name in found if name.startswith("after"))
    rows = [
        f"throughput, service / offline (range of the rounds) | {span[0]:.2f} ({span[1]:.2f} -"
        f" {span[2]:.2f})",
        "one picture by the service beside one offline, p50 |"
        f" {found['added at p50, ms']:.0f} ms more",
        f"`health` while a training and pictures run, p99 | {found['health p99, ms']:.0f} ms",
        f"memory of the server before and after {int(requests):,} requests |"
        f" {memory[0]:.1f}, {memory[1]:.1f} MB",
    ]
    return f"{found['clients']} clients, {found['steps']} steps.\n\n{table(' | ', rows)}"


def making_room(found: Mapping[str, Any]) -> str:
    return (
        "Each time costs a training of the miniature as much as"
        f" {found['a yield, in steps']:.0f} of its steps ({found['a yield, s']:.1f} s)."
    )


def full_table(found: Mapping[str, Any]) -> str:
    names = [name.removesuffix(", ms, empty") for name in found if name.endswith(", ms, empty")]
    rows = [
        f"{name} | {found[f'{name}, filled / empty']:.2f} |"
        f" {found[f'{name}, a quarter is below']:.2f} - {found[f'{name}, a quarter is above']:.2f}"
        for name in names
    ]
    return table("asked | filled / empty, median | middle half of the pairs", rows)


def crashes(found: Mapping[str, Any]) -> str:
    deaths, jobs = found["deaths"], found["jobs"]
    killed = deaths.get("server", 0) + deaths.get("worker", 0)
    lost = f"{len(found['problems'])} things were not as they must be" if found["problems"] else (
        "no job lost, none done twice, every training the bytes and every picture the pixels of its"
        " undisturbed twin, the database whole"
    )  # fmt: skip
    return (
        f"{killed} deaths ({deaths.get('server', 0)} of the server, {deaths.get('worker', 0)} of"
        f" workers; the disk was full {deaths.get('disk', 0)} times, the clock jumped"
        f" {deaths.get('clock', 0)} times) during {counted(jobs.get('train', 0), 'training')},"
        f" {counted(jobs.get('generate', 0), 'job')} of pictures and"
        f" {counted(jobs.get('scan', 0), 'scan')}: {lost}."
    )


# --- quality ------------------------------------------------------------------------------------


def choices(group: str) -> Callable[[Any], str]:
    def words(found: Mapping[str, Any]) -> str:
        one = found[group]
        return (
            f"{one['trainings']} trainings, {one['pictures']} test pictures of each way of"
            f" choosing.\n\n{tables.choices(one)}"
        )

    return words


def taught(found: Mapping[str, Any]) -> str:
    return tables.personalised(found["taught"])


def in_one_adapter(found: Mapping[str, Any]) -> str:
    """Beside what each is in an adapter of its own."""
    alone = {one["subject"]: one for one in read("personalise")["found"]["taught"]}
    rows = []
    for one in found["taught"]:
        ways = [("alone", alone[one["subject"]]), ("together", one)]
        for way, each in ways:
            shares = [
                tables.share(each["right"][what], each["pictures"])
                for what in ("subject", "scene", "both")
            ]
            cells = (one["subject"], way, each["pictures"], *shares, f"{each['class_kept']} of 20")
            rows.append(" | ".join(map(str, cells)))
    head = "subject | taught | pictures | subject right | scene right | both right | class kept"
    return table(head, rows)


def together(found: Mapping[str, Any]) -> str:
    rows = [
        " | ".join([
            way, str(one["pictures"]),
            *(share(one[what], one["pictures"]) for what in ("subjects", "place", "both")),
        ])
        for way, one in found.items()
    ]  # fmt: skip
    return table("adapters | pictures | both subjects right | place right | all of it", rows)


def miniature() -> str:
    """The whole page of the miniature, in the words of its report's template."""
    return TEMPLATE.read_text(encoding="utf-8").format(**read("miniature"))


# --- the recipes --------------------------------------------------------------------------------


def recipes() -> str:
    found = {name: read(f"recipes/{name}") for name in RECIPES}
    rows = [
        f"[{name}](../../examples/{name}.yaml) | {one['base']} | {one['photos']} | {one['steps']} |"
        f" {one['seconds']} s | {one['bytes'] / 1e6:.1f} MB | {one['pictures']} |"
        f" {share(one['subject'], one['pictures'])} | {share(one['place'], one['pictures'])} |"
        f" {share(one['both'], one['pictures'])}"
        for name, one in ((name, kept["found"]) for name, kept in found.items())
    ]
    head = "recipe | on | photos | steps | training | file | pictures | subject | place | both"
    told = dict.fromkeys(conditions(kept["of"]) for kept in found.values())
    return "\n\n".join([table(head, rows), *told])


def recipe_changes(one: Mapping[str, Any]) -> str:
    """What of a shipped recipe is not as it says when it runs on the miniature."""
    changes = ", ".join(f"`{k}: {json.dumps(v)}`" for k, v in one["changes"].items())
    return (
        f"On {one['base']}, {one['photos']} photos, {one['steps']} steps, {one['seconds']} s:"
        f" subject right {share(one['subject'], one['pictures'])}, place right"
        f" {share(one['place'], one['pictures'])}, both {share(one['both'], one['pictures'])}, of"
        f" {one['pictures']} pictures ({one['sampled']}). Changed for it: {changes}."
    )


def gallery() -> str:
    out = []
    for name in RECIPES:
        one = read(f"recipes/{name}")["found"]
        prompts = "; ".join(one["prompts"]).replace("<", "&lt;")
        out += [
            f"## {name}", "", f"![{prompts}](images/guides/{name}.webp)", "",
            f"*Photos, the base, what was taught. Prompts: {prompts}. Seed 101. Both right:"
            f" {share(one['both'], one['pictures'])} of {one['pictures']} pictures."
            f" [Recipe](../examples/{name}.yaml), {one['steps']} steps on {one['base']},"
            f" {one['sampled']}.*", "",
        ]  # fmt: skip
    return "\n".join(out)


def figure(name: str) -> Made:
    """The numbers of an idea's page, as `make figures` computed them."""
    return lambda: read("figures").get(name, "*Not made yet.*")


IDEAS = (
    "diffusion", "latents", "text", "guidance", "samplers", "lora", "dreambooth", "min-snr", "clip",
    "memorising",
)  # fmt: skip


def time_to_right(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"{one['subject']} | {one['photos']} | "
        + " | ".join(
            f"{one[w]['seconds']:.0f} s | {one[w]['both']:.0%}" for w in ("kaiffin", "plain")
        )
        for one in found
    ]
    return table("subject | photos | Kaiffin | in the end | plain recipe | in the end", rows)


PRESET = "class pictures 0.2"  # the miniature's, as benchmarks/teach.py calls it
TARGETS = (
    (6, "both", "both right", 0.95), (6, "kept", "class kept", 0.95), (6, "copy", "copies", 0.02),
    (3, "both", "both right", 0.90), (1, "both", "both right", 0.75), (1, "copy", "copies", 0.10),
)  # fmt: skip
SOONER = 1 / 3  # of the plain recipe's time to right


def targets() -> str:
    """What the preset is to reach, and what it reaches. An interval is the wider of the one over
    trainings and Wilson's over pictures: where all trainings agree the former has no width."""
    teach, right = read("teach"), read("time-to-right")
    by = {(row["photos"], row["method"], row["at"]): row for row in teach["found"]}
    rows = []
    for photos, name, words, bound in TARGETS:
        most, row = name == "copy", by.get((photos, PRESET, 100))
        said = "at most" if most else "at least"
        asked = f"{photos} | {words} | {said} {bound:.0%}"
        if row is None:
            rows.append(f"{asked} | not measured |  | ")
            continue
        middle = row[name][0]
        ends = (*row[name], *tables.wilson(round(middle * row["pictures"]), row["pictures"]))
        got = [value if most else -value for value in (middle, min(ends), max(ends))]
        told = tables.percent([middle, min(ends), max(ends)])
        rows.append(
            f"{asked} | {told} % | trainings: {row['trainings']}, pictures: {row['pictures']} |"
            f" {verdict(got, bound if most else -bound)}"
        )
    shares = [one["kaiffin"]["seconds"] / one["plain"]["seconds"] for one in right["found"]]
    middle = sum(shares) / len(shares)
    rows.append(
        f"{right['found'][0]['photos']} | time to right, by the plain recipe's | at most a third |"
        f" {middle:.2f} ({min(shares):.2f} - {max(shares):.2f}) | trainings: {len(shares)} |"
        f" {verdict([middle, min(shares), max(shares)], SOONER)}"
    )
    head = "photos | | target | measured | n | "
    return "\n\n".join([table(head, rows), conditions(teach["of"]), conditions(right["of"])])


def verdict(got: Sequence[float], most: float) -> str:
    """Of a mean with its ends, which is to be at most `most`."""
    middle, low, high = got[0], min(got), max(got)
    if high <= most:
        return "met"
    if middle <= most:
        return "met on average, not beyond chance"
    return "**not met**" if low > most else "**not met**, within chance"


WHOLE: dict[str, Made] = {"miniature.md": miniature}
PARTS: dict[str, dict[str, Made]] = {
    "performance.md": {
        "train_step": made("train_step", training_step),
        "generate": made("generate", picture),
        "parts": parts_of_a_picture,
        "pictures": made("pictures", tables.ways),
        "pictures-64": made("pictures-64", tables.ways),
        "pictures-64-xl": made("pictures-64-xl", tables.ways),
        "prior-fast": made("prior-fast", tables.teaching),
        "serve": made("serve", service),
        "serve-filled": made("serve-filled", full_table),
        "crash": made("crash", crashes),
        "start": made("start", starts),
        "load": made("start", loads),
    },
    "miniature.md": {
        "personalised": made("personalise", taught),
        "personalised-xl": made("personalise-xl", taught),
    },
    "experiments.md": {"grid": figure("grid")},
    "serving.md": {"room": made("serve", making_room)},
    "choosing.md": {
        "copies": figure("copies"),
        "choosing": made("choosing", choices("all")), "plush": made("choosing", choices("plush")),
    },
    "guides/recipes.md": {
        "numbers": recipes,
        **{name: lambda name=name: recipe_changes(read(f"recipes/{name}")["found"])
           for name in RECIPES},
    },
    "guides/together.md": {"numbers": made("together", together)},
    "guides/several.md": {"numbers": made("personalise-together", in_one_adapter)},
    "guides/methods.md": {
        "ranks": made("timed-ranks", tables.in_pairs),
        "before": made("teach-before", tables.teaching),
        "picked": made("teach-picked", tables.picked),
        "teach": made("teach", tables.teaching), "right": made("time-to-right", time_to_right),
    },
    "../examples/cheburashka-study/README.md": {
        "claims": made("cheburashka", claims.claims), "means": made("cheburashka", claims.means),
    },
    "guides/captions.md": {"numbers": figure("captions")},
    "gallery.md": {"gallery": gallery},
    **{f"ideas/{name}.md": {"numbers": figure(name)} for name in IDEAS},
}  # fmt: skip

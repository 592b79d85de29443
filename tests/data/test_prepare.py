"""`prepare`: findings, refusals, manifest, contact sheet; large sets; interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hearing import Heard
from PIL import Image, ImageFilter

from kaiffin.data import inspect
from kaiffin.data.findings import say
from kaiffin.data.prepare import Prepared, prepare
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import PhotoError

SUBJECT = SubjectConfig(token="kaiffin", noun="puffin")


class Split:
    """A base that reads words."""

    max_tokens, token_pieces = 77, staticmethod(str.split)


class Letters:
    """A base that reads letters."""

    max_tokens, token_pieces = 77, staticmethod(list)


def noise(seed: int, size: tuple[int, int] = (96, 96)) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for i in range(3):
        noise(i).save(path / f"{i}.png")
    return path


def run(
    folder: Path, out: Path | None = None, subject: SubjectConfig = SUBJECT, **more
) -> Prepared:
    data = {k: v for k, v in more.items() if k in DataConfig.model_fields}
    rest = {k: v for k, v in more.items() if k not in data}
    return prepare(DataConfig(photos=folder, **data), subject, 64, out=out, **rest)


def said(prepared: Prepared) -> str:
    return "\n".join(f"{finding.level} {finding}" for finding in prepared.findings)


def test_manifest_and_contact_sheet(folder: Path, tmp_path: Path) -> None:
    prepared = run(folder, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(prepared.manifest))
    assert [p["file"] for p in manifest["photos"]] == ["0.png", "1.png", "2.png"]
    assert manifest["photos"][0]["captions"] == ["a photo of kaiffin puffin"]
    assert manifest["photos"][0]["crop"]["size"] == [64, 64]
    assert prepared.problems == []
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 500
        colours = {tuple(c) for _, c in sheet.convert("RGB").getcolors(1 << 24)}
    assert (31, 122, 92) in colours  # the frame of a crop


def test_refusals_stop_unless_skipped_and_are_recorded(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    prepared = run(folder)
    assert len(prepared.problems) == 1
    assert "broken.jpg" in prepared.problems[0]
    skipped = run(folder, tmp_path / "out", skip_bad=True)
    assert skipped.problems == []
    assert len(skipped.examples) == 3
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["refused"][0]["what"] == "broken.jpg"


def test_all_bad_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.png").write_bytes(b"x")
    named = r"of 30 photos none can be used; 00\.png: .*; 19\.png: [^;]*; and 10 more\."
    with pytest.raises(PhotoError, match=named):
        run(tmp_path, skip_bad=True)


def test_too_small_never_grows_silently(folder: Path) -> None:
    noise(9, (40, 90)).save(folder / "small.png")
    prepared = run(folder)
    assert "small.png: 40x90 is too small for 64 px" in prepared.problems[0]
    assert "--resolution 40" in prepared.problems[0]
    allowed = run(folder, upscale=True)
    assert allowed.problems == []
    assert "is enlarged to" in said(allowed)
    assert len(run(folder, skip_bad=True).examples) == 3


def test_every_file_that_is_not_used_is_told(folder: Path, tmp_path: Path) -> None:
    for name in ("a.mov", "b.MOV", "c.jxl", "7.txt", "0-masklabel.png", "notes.doc", "edit.xmp"):
        (folder / name).write_bytes(b"x")
    noise(8).save(tmp_path / "up.png")
    (folder / "inner").mkdir()
    (tmp_path / "up.png").rename(folder / "inner" / "up.png")
    prepared = run(folder, tmp_path / "out")
    assert prepared.problems == []
    heard = Heard()
    say(prepared, heard)
    text = "\n".join(heard.notes)
    for told in ("videos cannot be read (2): a.mov, b.MOV", "JPEG XL cannot be read (1): c.jxl",
                 "caption files are not used (1): 7.txt", "(1): 0-masklabel.png",
                 "(1): inner/up.png", "other files are not used (1): notes.doc",
                 "(1): edit.xmp"):  # fmt: skip
        assert told in text
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    kept = {name for group in manifest["left_out"] for name in group["files"]}
    assert len(kept) == 8


def test_captions_that_look_misread_are_findings(folder: Path) -> None:
    (folder / "0.txt").write_text("kaiffin caf\u00c3\u00a9", "utf-8")
    (folder / "1.txt").write_text("kaiffin \ufffd", "utf-8")
    (folder / "2.txt").write_text("kaiffin au caf\u00e9", "utf-8")
    told = said(run(folder))
    assert "warning 0.png: a caption was 'kaiffin caf\u00e9' before its encoding" in told
    assert "warning 1.png: a caption has characters that no text has ('\\ufffd')" in told
    assert "2.png" not in told


def test_all_missing_masks_are_named_at_once(folder: Path) -> None:
    noise(0).save(folder / "0-mask.png")
    assert len(run(folder, masks="folder").problems) == 2
    kept = run(folder, masks="folder", skip_bad=True)
    assert [example.name for example in kept.examples] == ["0.png"]
    (folder / "0-mask.png").unlink()
    with pytest.raises(PhotoError, match=r"of 3 photos none can be used; 0\.png: its mask is"):
        run(folder, masks="folder")


def test_masks_that_cannot_be_used_are_found_before_training(folder: Path, tmp_path: Path) -> None:
    (folder / "0-mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    noise(1, (95, 96)).save(folder / "1-mask.png")
    noise(2).save(folder / "2-mask.png")
    problems = run(folder, tmp_path / "out", masks="folder").problems
    assert problems[0].startswith("0.png: its mask 0-mask.png: is damaged")
    assert "1.png: its mask 1-mask.png: 95x96 is not the size of its photo, 96x96" in problems[1]
    assert len(problems) == 2
    assert run(folder, tmp_path / "out").problems == []
    noise(1).save(folder / "1-mask.png")
    assert len(run(folder, tmp_path / "out", masks="folder").problems) == 1
    noise(2, (8, 8)).save(folder / "2-mask.png")  # known from before, but not this mask
    assert len(run(folder, tmp_path / "out", masks="folder").problems) == 2


def test_masks_that_cover_everything_or_nothing_are_found(folder: Path) -> None:
    for number, shade in enumerate((255, 0, 90)):
        Image.new("L", (96, 96), shade).save(folder / f"{number}-mask.png")
    found = run(folder, masks="folder")
    assert "0.png: its mask covers 100% of it: that says nothing of where the subject is" in (
        said(found)
    )
    assert [one.partition(".")[0] for one in found.problems] == ["1"]
    assert "its mask covers nothing of it" in found.problems[0]
    assert "covers" not in said(run(folder))
    clear = Image.new("RGBA", (96, 96), (9, 99, 9, 0))
    clear.save(folder / "2.png")
    assert "2.png: its mask covers nothing" in said(run(folder, masks="alpha"))
    assert "covers" not in said(run(folder))


def test_duplicates_exact_and_near(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "1.png").read_bytes())
    noise(2).save(folder / "near.jpg", quality=80)
    text = said(run(folder))
    assert "copy.png: is the same file as 1.png" in text
    assert "near.jpg: is nearly the same picture as 2.png" in text
    assert text.count("same") == 2


def test_twins_of_one_photo_are_said_once(folder: Path) -> None:
    for number in range(3, 6):
        noise(2).save(folder / f"near-{number}.jpg", quality=65 + 5 * number)
        (folder / f"copy-{number}.png").write_bytes((folder / "1.png").read_bytes())
    heard = Heard()
    say(run(folder), heard)
    twins = [note for note in heard.notes if "same" in note]
    assert len(twins) == 2
    assert "copy-3.png (and 2 more): is the same file as 1.png" in twins[0]
    assert "near-3.jpg (and 2 more): is nearly the same picture as 2.png" in twins[1]


def test_blur_and_strong_crops(folder: Path) -> None:
    noise(5, (600, 600)).filter(ImageFilter.GaussianBlur(30)).save(folder / "blur.png")
    noise(6, (64, 200)).save(folder / "tall.png")
    text = said(run(folder))
    assert "blur.png: looks blurred" in text
    assert "tall.png: the crop cuts off 68%" in text
    assert "0.png: looks blurred" not in text


def test_findings_of_the_set(folder: Path) -> None:
    nameless = SubjectConfig(token="kaiffin")
    text = said(run(folder, subject=nameless))
    assert "it is not said what the subject is" in text
    (folder / "0.txt").write_text("a bird")
    assert "1 of 3 captions without the word 'kaiffin'" in said(run(folder))
    (folder / "0.txt").write_text(
        "kaiffin on a rock\nby the sea\nat noon"
    )  # every line is looked at
    assert "2 of 5 captions without the word" in said(run(folder))
    for i in range(3):
        (folder / f"{i}.txt").write_text("a bird, at noon")
    assert "no caption has the word 'kaiffin', which so learns nothing" in said(run(folder))
    assert "no caption has 3 tags" in said(run(folder, shuffle_tags=True))
    assert "tags" not in said(run(folder, shuffle_tags=True, keep_tags=0))
    assert "tags" not in said(run(folder, tag_dropout=0.5))
    for name in ("1.png", "2.png"):
        (folder / name).unlink()
    assert "there is one photo" in said(run(folder))


def test_a_random_crop_wants_room(folder: Path) -> None:
    roomy = said(run(folder, crops="random"))
    assert "random crops are all the same" not in roomy, "photos of 96 px for crops of 64"
    for path in folder.glob("*.png"):
        noise(3, (64, 64)).save(path)
    assert "random crops are all the same" in said(run(folder, crops="random"))
    assert "random crops are all the same" not in said(run(folder, crops="random", upscale=True))
    assert "random crops" not in said(run(folder))


def test_findings_of_captions_and_trigger(folder: Path) -> None:
    (folder / "0.txt").write_text("kaiffin " + "word " * 100)
    text = said(run(folder, words=Split()))
    assert "0.png: a caption has 101 tokens, 75 fit" in text
    assert "is one that the base knows already" in text
    letters = run(folder, words=Letters())
    assert "is read in 7 pieces: k + a + i" in said(letters)
    assert all(finding.fix for finding in letters.findings)


def test_who_has_no_terminal_is_told_what_to_press(folder: Path) -> None:
    noise(6, (64, 200)).save(folder / "tall.png")
    (folder / "0.txt").write_text("a bird")
    found = run(folder, subject=SubjectConfig(token="kaiffin")).findings
    flags = [one for one in found if "--" in one.fix]
    assert len(flags) == 2
    assert not [one for one in found if "--" in (one.press or one.fix)]


def test_real_photos_are_sharp_and_distinct(photos: Path) -> None:
    prepared = prepare(
        DataConfig(photos=photos / "duck_toy"), SubjectConfig(token="duckie", noun="toy"), 512
    )
    assert len(prepared.examples) == 4
    assert [f for f in prepared.findings if f.level != "info"] == []


def test_a_photo_that_was_mended_is_read_again(folder: Path, tmp_path: Path) -> None:
    good = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(good[:50])
    assert run(folder, tmp_path / "out").problems
    (folder / "0.png").write_bytes(good)
    assert run(folder, tmp_path / "out").problems == []


def test_the_journal_spares_work_and_survives_tearing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = run(folder, out)
    journal = out / "journal.jsonl"
    journal.write_text(journal.read_text() + '\n{"key": "torn')
    opened: list[str] = []
    whole = inspect.examine
    monkeypatch.setattr(
        inspect, "examine", lambda path, *more: opened.append(path.name) or whole(path, *more)
    )
    noise(7).save(folder / "new.png")
    again = run(folder, out)
    assert opened == ["new.png"]
    assert [e.sha256 for e in again.examples][:3] == [e.sha256 for e in first.examples]


MANY = """
import sys
from pathlib import Path
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.data.prepare import prepare
if __name__ == "__main__":
    done = prepare(DataConfig(photos=Path(sys.argv[1])), SubjectConfig(noun="dog"), 64,
                   out=Path(sys.argv[2]))
    print(len(done.examples), sum(len(e.captions) for e in done.examples))
"""


def test_flickr_layout_in_parallel_interrupted_and_continued(tmp_path: Path) -> None:
    folder, out = tmp_path / "flickr", tmp_path / "out"
    inner = folder / "flickr30k_images" / "flickr30k_images"
    inner.mkdir(parents=True)
    rows = ["image_name| comment_number| comment"]
    for i in range(300):
        noise(i, (160, 120)).save(inner / f"{i}.jpg")
        rows += [f"{i}.jpg| {k}| caption {k} of {i} ." for k in range(5)]
    (folder / "flickr30k_images" / "results.csv").write_text("\n".join(rows))
    script = tmp_path / "many.py"
    script.write_text(MANY)
    command = [sys.executable, str(script), str(folder), str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    journal = out / "journal.jsonl"
    deadline = time.time() + 60
    while time.time() < deadline and process.poll() is None:
        if journal.is_file() and journal.read_text().count("\n") >= 32:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = journal.read_text().count('"key"')
    assert before >= 16
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["300", "1500"]
    assert journal.read_text().count('"key"') <= 301


def test_findings_of_thirty_thousand_photos_take_seconds() -> None:
    """Duplicates are searched in blocks of 64-bit words, not in Python loops over pairs."""
    from kaiffin.data.images import square_crop

    rng = np.random.default_rng(0)
    items = [
        inspect.Item(
            f"{i}.jpg",
            inspect.Examined(str(i), 640, 480, 100.0, f"{rng.integers(2**63):016x}", False, ()),
            square_crop((640, 480), 64),
            ("a dog",) * 5,
        )
        for i in range(5000)
    ]
    assert inspect.findings(items, DataConfig(), SubjectConfig(noun="dog"), 64, Split())

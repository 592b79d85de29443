"""Custom tokens in prompts, in training and in files, with diffusers as the oracle."""

from pathlib import Path

import pytest
import torch
from conftest import FEW
from made_adapters import FACTS
from PIL import Image
from safetensors.torch import load_file, save_file

from kaiffin.adapters.load import load_adapter, load_embedding
from kaiffin.adapters.tokens import Token, read_bundle
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError, ConfigError
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.pipeline import as_pipeline
from kaiffin.models.words import FIRST_ID
from kaiffin.pictures.recipe import read_recipe

WORD = "<toy>"


def made(family: ModelFamily, count: int = 2, init: str = "dog") -> Token:
    """A token whose vectors are far from where they began."""
    token = Token.create(WORD, count, init, family)
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for vectors in token.vectors.values():
            vectors.copy_(torch.randn(vectors.shape, generator=rng))
    return token


def states(family: ModelFamily, *prompts: str) -> torch.Tensor:
    with torch.no_grad():
        return family.encode_text(prompts, FACTS[: len(prompts)])["context"]


def test_it_is_a_word_only_while_it_is_attached(family: ModelFamily) -> None:
    before = states(family, f"a photo of {WORD}", "a photo of a dog")
    token = made(family)
    token.inject(family)
    assert family.token_pieces(f"a {WORD}!") == ["a</w>", WORD, WORD, "!</w>"]
    during = states(family, f"a photo of {WORD}", "a photo of a dog")
    assert not torch.allclose(during[0], before[0])
    assert torch.equal(during[1], before[1])
    token.eject()
    assert torch.equal(states(family, f"a photo of {WORD}", "a photo of a dog"), before)


def test_it_starts_as_the_words_it_comes_from(family: ModelFamily) -> None:
    """One vector for each piece: the prompt says exactly the same."""
    pieces = family.token_pieces("dog")
    token = Token.create(WORD, len(pieces), "dog", family)
    token.inject(family)
    assert torch.equal(states(family, f"a {WORD} runs"), states(family, "a dog runs"))
    token.eject()
    single = Token.create(WORD, 1, "dog", family)
    for tower, embedding in family.words.embeddings.items():
        ids = family.words.tokenizers[tower]("dog", add_special_tokens=False).input_ids
        expected = embedding.weight[ids].mean(0, keepdim=True)
        assert torch.allclose(single.vectors[tower], expected)


def test_words_are_found_whole_and_in_any_case(sd: ModelFamily) -> None:
    Token("kaif", {"text_encoder": torch.zeros(3, 32)}).inject(sd)
    ids = sd.words.ids(sd.tokenizers["text_encoder"], "Kaif, kaiffin and a kaif")
    assert [i for i in ids if i >= FIRST_ID] == 2 * [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2]
    sd.words.remove("kaif")


def test_the_pooled_text_is_that_of_the_end_token(sdxl: ModelFamily) -> None:
    """A new token's id is the highest of all, and transformers would pool there."""
    token = Token.create(WORD, len(sdxl.token_pieces("dog")), "dog", sdxl)
    token.inject(sdxl)
    with torch.no_grad():
        pooled = [sdxl.encode_text([f"a {w} runs"], FACTS[:1])["pooled"] for w in (WORD, "dog")]
    assert torch.equal(*pooled)
    token.eject()


def test_diffusers_reads_the_embedding_file_to_the_same_states(
    family: ModelFamily, tmp_path: Path
) -> None:
    token = made(family, 3)
    token.inject(family)
    ours = states(family, f"a photo of {WORD} on ice")
    token.eject()
    pipeline = as_pipeline(family)
    towers = list(token.vectors)
    for tower, vectors in zip(towers, token.alone().values(), strict=True):
        pipeline.load_textual_inversion(
            {"emb_params": vectors}, token=WORD, text_encoder=family.towers[tower],
            tokenizer=family.tokenizers[tower],
        )  # fmt: skip
    prompt = f"a photo of {WORD} on ice"
    with torch.no_grad():
        theirs = pipeline.encode_prompt(
            prompt=prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_a_bundle_comes_back_exactly(family: ModelFamily) -> None:
    token = made(family)
    (again,) = read_bundle(token.bundled(), family)
    assert again.word == WORD
    assert all(torch.equal(again.vectors[t], value) for t, value in token.vectors.items())


@pytest.mark.parametrize("named", ["\u00e9t\u00e9", "e\u0301te\u0301"])
def test_a_word_is_the_same_composed_or_not(
    family: ModelFamily, tmp_path: Path, named: str
) -> None:
    """Out of an adapter, and out of a file that a Mac named, for prompts typed either way."""
    token = made(family)
    bundled = {name.replace(WORD, named): value for name, value in token.bundled().items()}
    (again,) = read_bundle(bundled, family)
    assert again.word == "\u00e9t\u00e9"
    save_file(token.alone(), tmp_path / f"{named}.safetensors", {"kaiffin.word": "\u00e9t\u00e9"})
    stack = load_embedding(tmp_path / f"{named}.safetensors", family, named)
    assert [one.word for one in stack.tokens] == ["\u00e9t\u00e9"]
    stack.tokens[0].inject(family)
    typed = states(family, "a photo of \u00e9t\u00e9", "a photo of E\u0301te\u0301")
    stack.tokens[0].eject()
    assert torch.equal(typed[0], typed[1])
    assert not torch.allclose(typed[0], states(family, "a photo of \u00e9t\u00e9")[0])


def test_what_does_not_fit_is_refused(family: ModelFamily) -> None:
    narrow = {name: value[:, :-1] for name, value in made(family).bundled().items()}
    with pytest.raises(AdapterError, match=r"bundle_emb\.<toy>.*is no token of"):
        read_bundle(narrow, family)
    first = made(family)
    first.inject(family)
    with pytest.raises(AdapterError, match="two adapters bring the token '<TOY>'"):
        Token.create("<TOY>", 1, "cat", family).inject(family)
    first.eject()


def test_a_known_word_is_no_new_token(family: ModelFamily) -> None:
    with pytest.raises(ConfigError, match="knows already"):
        Token.create("a", 1, "dog", family)


def train(base: Path, folder: Path, out: Path, *more: str) -> int:
    return main(["train", str(folder), "--base", str(base), "--subject", WORD, "--class", "dog",
                 "--steps", "4", "--out", str(out), "--embedding.vectors", "2",
                 "--train.tensorboard", "false", "--data.prior.weight", "0",
                 "--adapter.targets", FEW, *more])  # fmt: skip


@pytest.mark.parametrize("base", ["sd_path", "sdxl_path"])
@pytest.mark.parametrize("how", ["together", "first", "alone", "frozen"])
def test_trained_saved_and_picked_up(
    how: str, base: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path, run = request.getfixturevalue(base), tmp_path / "run"
    assert train(path, folder, run, "--embedding.train", how) == 0
    tensors = load_file(run / "toy.safetensors")
    bundled = {k: v for k, v in tensors.items() if k.startswith("bundle_emb.<toy>.")}
    embedding = load_file(run / "toy-embedding.safetensors")
    assert list(embedding) == (["emb_params"] if base == "sd_path" else ["clip_g", "clip_l"])
    assert len(bundled) == len(embedding)
    assert (len(tensors) > len(bundled)) == (how != "alone")
    steps = len((run / "metrics.jsonl").read_text().splitlines())
    assert steps == (8 if how == "first" else 4)
    pictures = tmp_path / "pictures"
    call = ["generate", str(run), f"a photo of {WORD}", "--steps", "2", "--out", str(pictures)]
    assert main(call) == 0
    from conftest import load_tiny

    family = load_tiny(path)
    stack = load_adapter(run / "toy.safetensors", family)
    start = family.words.starting_from("dog", 2)
    same = all(torch.equal(stack.tokens[0].vectors[t], v) for t, v in start.items())
    assert same == (how == "frozen")


def test_a_token_goes_on_from_a_file(sd_path: Path, folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(sd_path, folder, first, "--embedding.train", "alone") == 0
    assert train(sd_path, folder, second, "--adapter.init_from", str(first / "toy.safetensors"),
                 "--embedding.train", "first", "--embedding.steps", "2") == 0  # fmt: skip
    before, after = (load_file(run / "toy-embedding.safetensors") for run in (first, second))
    moved = (before["emb_params"] - after["emb_params"]).abs().max()
    assert 0 < moved < 2 * 5e-3 * 2


FILES = {  # of one text encoder: keys and shapes
    "A1111's": {"emb_params": (2, 32)},
    "of a pickle's names": {"string_to_param.*": (2, 32)},
    "diffusers'": {"<cat-toy>": (2, 32)},
    "diffusers' of one vector": {"<cat-toy>": (32,)},
}
PAIRS = {
    "of both": {"clip_l": (2, 32), "clip_g": (2, 48)},
    "of diffusers' script": {"text_encoders_0": (2, 32), "text_encoders_1": (2, 48)},
}


@pytest.mark.parametrize("what", [*FILES, *PAIRS])
def test_an_embedding_file_is_its_words(
    what: str, sd: ModelFamily, sdxl: ModelFamily, tmp_path: Path
) -> None:
    """Under the file's name, and the word of its own: what the token in an adapter file does."""
    family, shapes = (sd, FILES[what]) if what in FILES else (sdxl, PAIRS[what])
    widths = [e.weight.shape[1] for e in family.words.embeddings.values()]
    rng = torch.Generator().manual_seed(0)
    tensors = {
        key: torch.randn((*shape[:-1], width), generator=rng)
        for (key, shape), width in zip(shapes.items(), widths, strict=True)
    }
    path = tmp_path / "my_style.safetensors"
    save_file(tensors, path)
    with pytest.raises(AdapterError, match="is a textual inversion embedding"):
        load_adapter(path, family)
    stack = load_embedding(path, family, "my_style")
    values = [value.reshape(-1, value.shape[-1]) for value in tensors.values()]
    token = Token("xyz", dict(zip(family.words.embeddings, values, strict=True)))
    token.inject(family)
    expected = encoded(family, "a xyz dog")
    token.eject()
    before = encoded(family, "a my_style dog")
    stack.inject(family)
    for word in ("my_style", "MY_STYLE", *(["<cat-toy>"] if "<cat-toy>" in shapes else [])):
        assert torch.equal(encoded(family, f"a {word} dog"), expected)
    stack.eject()
    assert torch.equal(encoded(family, "a my_style dog"), before)


def encoded(family: ModelFamily, text: str) -> torch.Tensor:
    with torch.no_grad():
        values = family.encode_text([text], FACTS[:1]).values()
    return torch.cat([value.flatten() for value in values])


def test_an_embedding_for_another_base_is_named(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for shapes in ({"emb_params": (2, 768)}, {"clip_l": (2, 768), "clip_g": (2, 1280)}):
        save_file({key: torch.ones(shape) for key, shape in shapes.items()}, path)
        with pytest.raises(AdapterError, match=r"a\.safetensors: holds .*, where this base's"):
            load_embedding(path, sd, "a")
    save_file({"lora_unet_a.alpha": torch.ones(())}, path)
    with pytest.raises(AdapterError, match="is no textual inversion"):
        load_embedding(path, sd, "a")


def test_pictures_with_an_embedding(
    sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the prompt and in the negative one; the recipe makes the picture again."""
    path, out = tmp_path / "bad.safetensors", tmp_path / "out"
    save_file({"emb_params": 3 * torch.randn(2, 32)}, path)
    call = ["generate", sd.base, "a dog", "--steps", "1", "--out", str(out), "--negative", "bad"]
    assert main(call) == 0
    assert main([*call, "--embedding", str(path)]) == 0
    assert "is called by 'bad'" in " ".join(capsys.readouterr().out.split())
    plain, new = (out / f"a-dog-seed0{end}.png" for end in ("", "-2"))
    assert Image.open(plain).tobytes() != Image.open(new).tobytes()
    (entry,) = read_recipe(new)["embeddings"]
    assert (entry["name"], entry["path"]) == ("bad", str(path))
    assert main(["generate", "--from", str(new), "--out", str(tmp_path / "again")]) == 0
    (again,) = (tmp_path / "again").glob("*.png")
    assert again.read_bytes() == new.read_bytes()
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / "BAD.safetensors")
    capsys.readouterr()
    for _ in range(2):
        assert main([*call, "--adapters", str(tmp_path / "folder")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("BAD.safetensors is called by 'BAD' in a prompt") == 2
    third = out / "a-dog-seed0-3.png"
    assert pixels(third) == pixels(new)
    assert [one["name"] for one in read_recipe(third)["embeddings"]] == ["BAD"]
    assert 'TI hashes: "BAD: ' in Image.open(third).text["parameters"]
    plainly = ["--adapters", str(tmp_path / "folder"), "--sample.prompt_syntax", "plain"]
    assert main([*call, *plainly]) == 0
    assert pixels(out / "a-dog-seed0-5.png") == pixels(plain)
    (tmp_path / "folder" / "BAD.safetensors").rename(out / "other.safetensors")
    assert main(["generate", "--from", str(new), "--out", str(tmp_path / "moved")]) == 0
    (found,) = (tmp_path / "moved").glob("*.png")
    assert pixels(found) == pixels(new), "found by what it holds, and called as it was"


def test_a_word_that_the_base_knows_is_said_to_mean_something_else(
    sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an embedding, and of a token in an adapter file."""
    word = next(one for one in ("dog", "a", "of") if sd.words.is_known(one))
    vectors = torch.randn(1, 32)
    save_file({"emb_params": vectors}, tmp_path / f"{word}.safetensors")
    bundled = {f"bundle_emb.{word}.string_to_param.*": vectors}
    save_file(bundled, tmp_path / "lora.safetensors", {"ss_base_model_version": "sd_v1"})
    call = ["generate", sd.base, f"{word} cat", "--steps", "1", "--out", str(tmp_path / "out")]
    for flag, name in (("--embedding", word), ("--adapter", "lora")):
        assert main([*call, flag, str(tmp_path / f"{name}.safetensors")]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"{word!r} is a word of {sd.base}" in said.replace("- ", "")
        assert f"it means now what {name}.safetensors says" in said


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()

"""--mode=predict: folders and globs, written guesses, the contact sheet, photographs of digits."""

import copy
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run as program
from convnets import api
from convnets.analysis import run_plots
from convnets.data import image_files
from convnets.errors import UsageError
from convnets.models.pretrained import weights
from convnets.modes import evaluate, export, predict, usage
from convnets.training.trained_run import TrainedRun
from tests.test_api import GOLDEN


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Returns a folder of five images, one of them deeper, beside other files."""
    folder = tmp_path_factory.mktemp("pictures [1]")  # brackets are no glob in the name of a folder
    (folder / "deep").mkdir()
    for i, name in enumerate(("a.png", "b.PNG", "c.bmp", "deep/d.png", "odd")):
        pixels = np.random.default_rng(i).integers(0, 100, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / name, "png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").touch()
    return folder


def names(folder, *given):
    return [str(p).removeprefix(f"{folder}/") for name in given for p in image_files.find(str(name))]


def test_folders_and_globs_stand_for_their_images(pictures, monkeypatch):
    assert names(pictures, pictures) == ["a.png", "b.PNG", "c.bmp", "deep/d.png"]
    assert names(pictures, pictures / "odd", pictures / "none.png", pictures / "notes.txt") == ["odd", "notes.txt"]
    monkeypatch.chdir(pictures)
    assert names(pictures, "*.p*", "?.bmp", "**/d.png") == ["a.png", "c.bmp", "deep/d.png"]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_guesses_are_written_and_then_drawn(suffix, pictures, tmp_path, capsys, monkeypatch):
    config, output = evaluate.load_run_config(GOLDEN, []), tmp_path / f"guesses{suffix}"
    files = image_files.find(str(pictures))
    expected = api.open_run(GOLDEN).predict(files)
    predict.predict(config, GOLDEN, "", [str(pictures), files[0]], False, str(output))
    said = capsys.readouterr().out
    assert said.count(" %") == 12 and f"drawn: {tmp_path / 'guesses.png'}" in said
    if suffix == ".csv":
        rows = list(csv.DictReader(output.read_text().splitlines()))
        found = [(r["image"], r["guess 1"], float(r["probability 1"])) for r in rows]
    else:
        rows = json.loads(output.read_text())
        found = [(r["image"], r["guesses"][0]["class"], r["guesses"][0]["probability"]) for r in rows]
    assert [(f, g) for f, g, _ in found] == [(f, str(row.argmax())) for f, row in zip(files, expected, strict=True)]
    assert [v for *_, v in found] == pytest.approx(list(expected.max(1)), abs=1e-5)

    def fail(*_):
        raise OSError("no room")

    output.unlink()
    monkeypatch.setattr(run_plots, "plot_contact_sheet", fail)
    predict.predict(config, GOLDEN, "", files, False, str(output))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"warning: {tmp_path / 'guesses.png'} could not be drawn: OSError: no room" and output.exists()


def test_images_of_a_data_set_with_an_opacity_are_read_with_theirs(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "opaque.png")
    facts = {"image_shape": (8, 8, 4), "dark_background": False}
    found = image_files.read([tmp_path / "a.png", pixels, tmp_path / "opaque.png"], facts, "decode", invert=False)
    opaque = np.concatenate([pixels[..., :3], np.full((8, 8, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(found, [pixels, pixels, opaque])
    (found,) = image_files.read([pixels], facts, "decode", invert=True)
    np.testing.assert_array_equal(found, np.concatenate([255 - pixels[..., :3], pixels[..., 3:]], axis=-1))
    with pytest.raises(UsageError, match=r"an image is uint8 \[height, width, 1 or 3\], this one uint8 \[8, 8, 4\]"):
        image_files.read([pixels], facts | {"image_shape": (8, 8, 3)}, "decode", invert=False)


def test_damaged_images_cost_no_guess_of_another(pictures, tmp_path, capsys):
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for i, name in enumerate(names):
        Path(name).write_bytes((pictures / "a.png").read_bytes()[: 40 if i == 1 else None])
    config, output = evaluate.load_run_config(GOLDEN, []), tmp_path / "guesses.csv"
    with pytest.raises(UsageError, match=rf"^{names[1]} cannot be read as an image: [^\n]+$"):
        predict.predict(config, GOLDEN, "", names, False, str(output))
    assert [row["image"] for row in csv.DictReader(output.read_text().splitlines())] == [names[0], names[2]]
    assert "drawn" in capsys.readouterr().out
    with pytest.raises(UsageError, match=names[1]):
        predict.predict(config, GOLDEN, "", names[1:2], False, "")


def test_no_output_takes_the_place_of_an_image_and_any_name_is_written(pictures, tmp_path):
    picture, odd = tmp_path / "a.png", tmp_path / "caf\udce9.png"
    for path in (picture, odd):
        path.write_bytes((pictures / "a.png").read_bytes())
    config = evaluate.load_run_config(GOLDEN, [])
    with pytest.raises(UsageError, match=r"its contact sheet would replace .*a\.png, one of the images"):
        predict.predict(config, GOLDEN, "", [str(picture)], False, str(tmp_path / "a.csv"))
    with pytest.raises(UsageError, match=r"its contact sheet would replace .*a\.png, one of the images"):
        predict.predict(config, GOLDEN, "", [str(tmp_path)], False, str(tmp_path / "a.csv"))
    assert picture.read_bytes() == (pictures / "a.png").read_bytes()
    for _ in range(2):  # the sheet of the first call is no image of the second
        predict.predict(config, GOLDEN, "", [str(tmp_path)], False, str(tmp_path / "guesses.csv"))
        assert (tmp_path / "guesses.csv").read_text().count(".png") == 2
    only = tmp_path / "only"
    only.mkdir()
    (tmp_path / "guesses.png").rename(only / "guesses.png")
    (only / "guesses.csv").touch()
    with pytest.raises(UsageError, match="only holds no image but"):
        predict.predict(config, GOLDEN, "", [str(only)], False, str(only / "guesses.csv"))
    predict.predict(config, GOLDEN, "", [str(odd)], False, str(tmp_path / "b.csv"))
    assert "caf\\udce9.png" in (tmp_path / "b.csv").read_text()


def test_a_photograph_of_a_digit_is_seen_as_the_digit(tmp_path):
    """In uneven light, with noise, some as a phone stores them; the digits are scikit-learn's, 8 x 8 and so no easy ones."""
    from sklearn.datasets import load_digits

    digits, rng, photos, clean = load_digits(), np.random.default_rng(0), [], []
    for i in range(40):
        side = int(rng.integers(120, 260))
        grey = Image.fromarray((digits.images[i] * 15).astype(np.uint8))
        ink = np.asarray(grey.resize((side, side), Image.Resampling.BICUBIC)) > 120
        y, x = rng.integers(20, 460 - side), rng.integers(20, 620 - side)
        paper = 120 + 100 * np.linspace(0, 1, 640) * np.ones((480, 1))
        paper[y : y + side, x : x + side] *= np.where(ink, 0.3, 1)
        photo = Image.fromarray(np.clip(paper + rng.normal(0, 5, paper.shape), 0, 255).astype(np.uint8))
        exif = Image.Exif()
        if i % 2:
            photo, exif[image_files.ORIENTATION] = photo.transpose(Image.Transpose.ROTATE_90), 6
        photos.append(tmp_path / f"{i}.jpg")
        photo.save(photos[-1], exif=exif)
        clean.append(np.pad(ink, 40).astype(np.uint8) * 255)  # white on black, sharp
    run = api.open_run("lenet5")
    guesses = run.predict(photos).argmax(1)
    assert (guesses == run.predict(clean).argmax(1)).mean() >= 0.9
    assert (guesses == digits.target[:40]).mean() >= 0.6  # resized as a whole they are recognized by chance, 0.1
    paper = run.read([np.full((90, 120, 3), 200, np.uint8)])
    assert paper.shape == (1, 28, 28, 1) and not paper.any()


def test_exported_weights_see_images_as_their_run_does(pictures, tmp_path, monkeypatch, capsys):
    """The file keeps the facts of its training images: without them an image would get another size."""
    config, file = evaluate.load_run_config(GOLDEN, []), tmp_path / "own.safetensors"
    export.export(config, GOLDEN, file)
    assert "dataset" in weights.read_notes(file)
    elsewhere = TrainedRun(config, tmp_path, str(file))
    assert elsewhere.facts == api.open_run(GOLDEN).facts
    path = str(pictures / "a.png")
    np.testing.assert_array_equal(elsewhere.predict(path), api.open_run(GOLDEN).predict(path))


def test_a_weights_file_needs_its_config(tmp_path):
    file = tmp_path / "a.safetensors"
    file.touch()
    with pytest.raises(UsageError, match=r"needs --config=FILE\.py:VARIANT, whose network it fits"):
        command(f"--weights={file}")
    shutil.copy(GOLDEN / "config.json", tmp_path)
    found = command(f"--weights={file}")
    assert found.source == str(tmp_path / "config.json") and found.opened == tmp_path


def command(*arguments):
    given = copy.deepcopy(program.FLAGS)
    given.unparse_flags()
    given(["run.py", "--mode=predict", "--images=run.py", *arguments])
    return usage.check_command(given, [], [], "configs/lenet.py:digits")


def test_guesses_are_in_the_order_of_the_scores_where_probabilities_vanish():
    scores = np.array([-300.0, -200.0, 0.0, -250.0], np.float32)  # float32 has no exp(-200)
    assert predict.best_guesses("abcd", scores, logarithms=True) == [("c", 1.0), ("b", 0.0), ("d", 0.0)]
    assert predict.best_guesses("abcd", scores) == [("c", 0.0), ("b", -200.0), ("d", -250.0)]


def test_guesses_are_printed_as_json(pictures, tmp_path, capsys):
    light = tmp_path / "light.png"  # has a note
    Image.fromarray(np.full((8, 8), 250, np.uint8)).save(light)
    given, output = [str(pictures), str(light)], str(tmp_path / "a.csv")
    predict.predict(evaluate.load_run_config(GOLDEN, []), GOLDEN, "", given, False, output, as_json=True)
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert "note: " in err and "drawn: " in err and len(rows) == 5
    rows = rows[:4]
    assert len(rows) == 4 and len(rows[0]["guesses"]) == 3


def test_a_config_of_another_program_is_no_run(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 768}')
    with pytest.raises(UsageError):
        evaluate.load_run_config(tmp_path, [])

"""The zip codes of 1989 from made-up files of both forms: their values, order and faults."""

import gzip
import json

import numpy as np
import pytest

from configs.lenet import get_config
from convnets.data import dataset, sources
from convnets.errors import DataError
from convnets.modes import prepare
from tests.conftest import run_here, write_zip_codes

OPS = "decode|value_range(-1, 1)"


def load(data_dir, loader="resident"):
    return dataset.load_splits("zip_codes", str(data_dir), loader, "train", "test", OPS, OPS, "error")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_both_forms_give_the_digits_in_the_order_of_the_files(suffix, tmp_path):
    values, labels = write_zip_codes(tmp_path / "files", {"train": 12, "test": 5}, suffix)["test"]
    sources.builder("zip_codes", tmp_path / "tfds", str(tmp_path / "files"))
    _, test = load(tmp_path / "tfds")
    assert test.info.num_classes == 10 and test.info.image_shape == (16, 16, 1)
    assert test.resident_arrays["labels"].tolist() == labels.tolist()
    pixels = test.resident_arrays["images"].reshape(5, 256)
    np.testing.assert_allclose(pixels, (values + 1) * 127.5, atol=0.501)  # the nearest byte, 0.004 of -1 to 1


def test_the_prepared_set_keeps_every_grey_level(tmp_path):
    """The files have 2,001 levels, of which the loader makes 256."""
    import tensorflow_datasets as tfds

    write_zip_codes(tmp_path / "files", {"train": 8, "test": 1})
    made = sources.builder("zip_codes", tmp_path / "tfds", str(tmp_path / "files"))
    images = [example["image"] for example in tfds.as_numpy(made.as_dataset("train"))]
    levels = np.unique(np.round(2000 * np.array(images, np.float64) - 1000))
    np.testing.assert_array_equal(levels, np.arange(-1000, 1001))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "its shape is 0$"),
        (b"3 " + b"-1 " * 255, "its shape is 1 x 256"),
        (b"3 " + b"-1 " * 256 + b"\n4 0.5\n", "inhomogeneous shape"),
        (b"3 " + b"-1 " * 255 + b"ink", "could not convert string"),
        (b"3 " + b"-1 " * 255 + b"255", "there are others"),
        (b"10 " + b"-1 " * 256, "there are others"),
    ],
)
def test_a_file_of_another_content_is_one_line(content, message, tmp_path):
    write_zip_codes(tmp_path / "files", {"train": 2, "test": 2})
    (tmp_path / "files" / "zip.test").write_bytes(content)
    with pytest.raises(DataError, match=rf"zip\.test does not hold lines of a digit and 256 values .*{message}") as e:
        sources.builder("zip_codes", tmp_path / "tfds", str(tmp_path / "files"))
    assert "\n" not in str(e.value) and not list(tmp_path.glob("tfds/zip_codes/1*"))


def test_an_incomplete_archive_is_one_line(tmp_path):
    write_zip_codes(tmp_path / "files", {"train": 2, "test": 2}, ".gz")
    path = tmp_path / "files" / "zip.train.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"zip\.train\.gz does not hold .*: Compressed file ended"):
        sources.builder("zip_codes", tmp_path / "tfds", str(tmp_path / "files"))
    path.write_bytes(gzip.compress(b"3")[:12] + b"x" * 20)
    with pytest.raises(DataError, match=r"zip\.train\.gz does not hold "):
        sources.builder("zip_codes", tmp_path / "tfds", str(tmp_path / "files"))


def test_missing_files_are_one_line_with_the_exit_code_of_data(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNETS_CACHE", str(tmp_path))  # not the one with the images of other tests
    (tmp_path / "files").mkdir()
    two = "--config.train.batch_size=2"  # for the two devices of the tests
    config = ("--config=configs/lenet.py:lenet1989-zip", f"--config.data.data_dir={tmp_path}/tfds", two)
    run = (*config, f"--workdir={tmp_path}/run")
    by_hand = (*config, "--mode=prepare", f"--manual_dir={tmp_path}/files")
    assert "put zip.train and zip.test, or both with .gz, from the web page of the book" in run_here(*run, code=3)[1]
    assert "files is not a folder with files" in run_here(*by_hand, code=3)[1]
    (tmp_path / "files" / "notes.txt").write_text("")
    _, error = run_here(*by_hand, code=3)
    assert "files holds neither zip.train nor zip.train.gz; put there zip.train and zip.test" in error
    assert len(error.splitlines()) == 1


def test_a_set_of_another_size_is_no_zip_code_set(tmp_path):
    write_zip_codes(tmp_path / "files", {"train": 12, "test": 5})
    config = get_config("lenet1989-zip")
    config.data.data_dir = str(tmp_path / "tfds")
    with pytest.raises(DataError, match="zip_codes train holds 12 examples, 7,291 expected"):
        prepare.prepare(config, str(tmp_path / "files"))


def test_lenet_1989_sees_the_digits_in_the_same_order_in_every_pass(tmp_path):
    """LeCun et al. 1989: "the patterns were repeatedly presented in a constant order"."""
    write_zip_codes(tmp_path / "files", {"train": 12, "test": 5})
    sources.builder("zip_codes", tmp_path / "tfds", str(tmp_path / "files"))
    config = get_config("lenet1989-zip")
    assert (config.train.epochs, config.train.batch_size, config.train.reshuffle) == (23.0, 1, False)
    run_here("--config=configs/lenet.py:lenet1989-zip", f"--config.data.data_dir={tmp_path}/tfds", f"--workdir={tmp_path}/run",
             "--config.train.epochs=3", "--config.train.batch_size=2", "--config.optim.lr=1e-30")  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = np.array([line["loss"] for line in lines]).reshape(3, 6)  # the weights do not change: one loss a batch
    np.testing.assert_array_equal(losses, losses[[0, 0, 0]])
    assert len(np.unique(losses[0])) == 6

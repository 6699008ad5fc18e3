"""--mode=prepare: prepares a data set before a run. ImageNet takes hours, so likely errors are checked first."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from convnets.augment import pipeline
from convnets.data import cache, dataset, sources
from convnets.errors import DataError
from convnets.runtime.files import IMAGE_FOLDER

# Manual downloads from https://image-net.org/challenges/LSVRC/2012/2012-downloads.php, with their sizes in bytes.
ARCHIVES = {"imagenet2012": {"ILSVRC2012_img_train.tar": 147_897_477_120, "ILSVRC2012_img_val.tar": 6_744_924_160}}
SHOWN = 8  # images and epochs that are drawn
COUNTS = {"imagenet2012": {"train": 1_281_167, "validation": 50_000}, "zip_codes": {"train": 7291, "test": 2007}}


def prepare(config: ConfigDict, manual_dir: str, figure: str = "") -> None:
    """Downloads or unpacks a config's data set, counts its examples, and fills the loader's cache.

    Args:
        manual_dir: folder of manually downloaded archives; '' if none are needed.
        figure: file to draw training images into, as the network sees them; '' for none.

    Raises:
        DataError: an archive is missing or incomplete, or the data set does not have the expected content.
    """
    name = config.data.name
    if not name.startswith(IMAGE_FOLDER):
        where = sources.directory(config.data.data_dir)
        if manual_dir and sources.version_dir(where / name.replace(":", "/")) is None:
            check_archives(name, Path(manual_dir).absolute())
        made = sources.builder(name, where, str(Path(manual_dir).absolute()) if manual_dir else None)
        sources.complete(made, name)
        print(f"{name}:{made.version} is in {made.data_path}")
    splits = dict.fromkeys([config.data.train_split, config.data.test_split])
    for split in splits:
        source = sources.find(name, config.data.data_dir, split)  # checks the files against the data set's own counts
        expected = COUNTS.get(name.split(":")[0], {}).get(split, len(source.reader))
        if len(source.reader) != expected:
            raise DataError(f"{name} {split} holds {len(source.reader):,} examples, {expected:,} expected")
        print(f"{split}: {len(source.reader):,} examples of {source.info.num_classes} classes, counted", flush=True)
    train, test = dataset.load_splits(**config.data)
    if train.statistics:
        print(f"training images: mean {_numbers(train.statistics.mean)}, standard deviation"
              f" {_numbers(train.statistics.std)}, eigenvalues {_numbers(train.statistics.eigenvalues)}")  # fmt: skip
    print(f"ready: {train.memory(config.train.batch_size)}; {test.memory(config.evaluate.batch_size)};"
          f" cached in {cache.cache_dir()}")  # fmt: skip
    if figure:
        draw_inputs(config, train, Path(figure))
        print(f"drawn: {figure}")


def draw_inputs(config: ConfigDict, train: dataset.Split, path: Path) -> None:
    """Draws training images as the network sees them after data.train_ops: a row for each, a column for each epoch."""
    from convnets.analysis import network_plots

    seed, n = config.train.seed, min(SHOWN, train.info.num_examples)
    index, epoch = (v.ravel().astype(np.int32) for v in np.meshgrid(range(n), range(SHOWN), indexing="ij"))
    (batch,) = train.feed([{"index": index, "epoch": epoch, "mask": np.ones(len(index), np.float32)}], seed)
    placed, arrays = jax.tree.map(jnp.asarray, (batch, train.resident_arrays))
    keys = pipeline.example_keys(seed, placed["epoch"], placed["index"])
    inputs = pipeline.apply(train.device_ops, keys, dataset.fetch(placed, arrays)[0])
    network_plots.plot_inputs(np.asarray(inputs), SHOWN, path, f"{train.info.name}: {config.data.train_ops}")


def check_archives(name: str, folder: Path) -> None:
    """Checks the archives of `name` in `folder` by name and size; raises DataError listing all problems."""
    if not folder.is_dir() or not any(folder.iterdir()):
        raise DataError(f"--manual_dir={folder} is not a folder with files")
    wrong = []
    for file, size in ARCHIVES.get(name.split(":")[0], {}).items():
        found = (folder / file).stat().st_size if (folder / file).is_file() else None
        if found is None:
            wrong.append(f"{file} is missing in {folder}; it has {size:,} bytes")
        elif found != size:
            wrong.append(
                f"{folder / file} has {found:,} bytes, not {size:,}: the download is incomplete or another file"
            )
    if wrong:
        raise DataError("\n".join(wrong))


def _numbers(values) -> str:
    return " ".join(f"{v:.2f}" for v in values)

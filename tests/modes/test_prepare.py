import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from configs.lenet import get_config
from convnets.analysis import network_plots
from convnets.errors import DataError
from convnets.modes import prepare


def photograph(seed):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((48, 40)).save(buffer, "jpeg")
    return buffer.getvalue()


def archive(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path.read_bytes()


@pytest.fixture
def archives(tmp_path):
    """Writes a tiny ImageNet: two classes of four images each, and three validation images."""
    folder = tmp_path / "archives"
    folder.mkdir()
    classes = {}
    for c, synset in enumerate(("n01440764", "n15075141")):
        images = {f"{synset}_{i}.JPEG": photograph(10 * c + i) for i in range(4)}
        classes[f"{synset}.tar"] = archive(tmp_path / "class.tar", images)
    archive(folder / "ILSVRC2012_img_train.tar", classes)
    archive(folder / "ILSVRC2012_img_val.tar",
            {f"ILSVRC2012_val_{i:08}.JPEG": photograph(100 + i) for i in (1, 2, 3)})  # fmt: skip
    return folder


def config(data_dir, name="imagenet2012", test_split="validation"):
    made = get_config("digits")
    made.data.update(name=name, data_dir=str(data_dir), loader="stream", test_split=test_split,
                     train_ops="decode|inception_crop(32)|standardize", test_ops="decode|resize_center_crop(32)|standardize")  # fmt: skip
    return made


def test_archives_are_checked_before_anything_is_done(archives, tmp_path):
    with pytest.raises(
        DataError, match=r"img_train.tar has \d[\d,]+ bytes, not 147,897,477,120: .*\n.*not 6,744,924,160"
    ):
        prepare.prepare(config(tmp_path / "data"), str(archives))
    (archives / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(DataError, match=r"img_val.tar is missing in .*; it has 6,744,924,160 bytes"):
        prepare.prepare(config(tmp_path / "data"), str(archives))
    with pytest.raises(DataError, match="nowhere is not a folder"):
        prepare.prepare(config(tmp_path / "data"), "/nowhere")
    with pytest.raises(DataError, match=r"must be downloaded by hand; .* --mode=prepare --manual_dir=FOLDER"):
        prepare.prepare(config(tmp_path / "data"), "")
    assert not (tmp_path / "data" / "imagenet2012").exists()


def test_imagenet_is_prepared_counted_and_measured(archives, tmp_path, monkeypatch, capsys):
    sizes = {p.name: p.stat().st_size for p in archives.iterdir()}
    monkeypatch.setitem(prepare.ARCHIVES, "imagenet2012", sizes)
    monkeypatch.setitem(prepare.COUNTS, "imagenet2012", {"train": 8, "validation": 3})
    for _ in range(2):  # the second time everything exists already
        prepare.prepare(config(tmp_path / "data"), str(archives))
        out = capsys.readouterr().out
        assert "train: 8 examples of 1000 classes, counted" in out and "validation: 3 examples" in out
        assert "mean " in out and "eigenvalues " in out and "ready: train streamed" in out
    monkeypatch.setitem(prepare.COUNTS, "imagenet2012", {"train": 1_281_167})
    with pytest.raises(DataError, match="imagenet2012 train holds 8 examples, 1,281,167 expected"):
        prepare.prepare(config(tmp_path / "data"), str(archives))


def test_a_resident_set_is_decoded_and_kept(tmp_path, capsys):
    made = get_config("digits")
    prepare.prepare(made, "")
    out = capsys.readouterr().out
    assert "train: 1,437 examples of 10 classes, counted" in out and "ready: train resident, 0.1 MiB" in out


@pytest.mark.parametrize(
    "loader, ops",
    [
        ("resident", "decode|distort(translate=2)|value_range(-1, 1)"),
        ("stream", "decode|inception_crop(24)|flip|subtract_mean"),
    ],
)
def test_training_images_are_drawn_as_the_network_sees_them(loader, ops, scratch, tmp_path, monkeypatch, capsys):
    """The same image in other epochs looks different; on the host and on the device."""
    drawn = []
    monkeypatch.setattr(network_plots, "plot_inputs", lambda *given: drawn.append(given))
    config = get_config("digits")
    config.data.train_ops, config.data.loader = ops, loader
    prepare.prepare(config, "", str(tmp_path / "a.png"))
    ((inputs, columns, path, title),) = drawn
    assert inputs.shape[0] == 64 and columns == 8 and title.endswith(ops) and path == tmp_path / "a.png"
    assert len(np.unique(inputs.reshape(64, -1), axis=0)) == 64
    assert capsys.readouterr().out.endswith(f"drawn: {tmp_path / 'a.png'}\n")

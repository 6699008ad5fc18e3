"""Test protocols on small networks, each compared with applying the network by hand."""

import io
import re
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from convnets import models, op_string
from convnets.augment import host_ops, pipeline
from convnets.data import dataset, sampler, sources
from convnets.evaluation import feature_change, metrics, protocols
from convnets.evaluation.evaluator import Evaluator, average_scores, group_by_size
from convnets.models import vgg
from convnets.runtime import parallel
from convnets.training.state import create_state
from tests.conftest import filled

N, CLASSES = 11, 7
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (N, 12, 12, 3), dtype=np.uint8)
LABELS = RNG.integers(0, CLASSES, N).astype(np.int32)


class Tiny(nn.Module):
    """A convolution and an 8 x 8 convolution as classifier: 8 x 8 images give scores, larger images a map."""

    classes: int = CLASSES
    input_shape: ClassVar = (8, 8, 3)

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.relu(nn.Conv(4, (3, 3), padding="SAME", name="conv1")(x / 255))
        x = nn.Conv(self.classes, (8, 8), padding="VALID", name="fc")(x)
        return x[:, 0, 0] if x.shape[1:3] == (1, 1) else x


def split_of(ops, images=IMAGES):
    info = sources.Info("noise", "1", "test", len(images), CLASSES, list(map(str, range(CLASSES))), images.shape[1:])
    resident_arrays = {"images": images, "labels": np.resize(LABELS, len(images))}
    return dataset.Split(info, pipeline.parse(ops, test=True)[1], resident_arrays, ops=ops)


def with_weights(model):
    """Returns a network and random variables, different from its initial ones."""
    start = create_state(model, optax.identity(), 0)
    return model, parallel.replicate({"params": filled(start.params), "batch_stats": filled(start.batch_stats)})


@pytest.fixture(scope="module")
def network():
    return with_weights(Tiny())


def scored(network, ops, protocol, images=IMAGES, batch_size=4):
    evaluator = Evaluator(network[0], "softmax", split_of(ops, images), protocol=protocol, batch_size=batch_size)
    summary, scores, _ = evaluator(network[1])
    assert summary["num_examples"] == len(images) and scores.dtype == np.float32
    return summary, scores, evaluator


def by_hand(network, images):
    return np.asarray(network[0].apply(network[1], jnp.asarray(images, jnp.float32), train=False))


def probabilities(scores):
    e = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


VIEWS = [
    (0, 0, False), (0, 0, True), (0, 4, False), (0, 4, True), (4, 0, False), (4, 0, True), (4, 4, False),
    (4, 4, True), (2, 2, False), (2, 2, True),
]  # fmt: skip


@pytest.mark.parametrize("average", ["softmax", "score"])
def test_ten_crops_by_hand(network, average):
    summary, scores, evaluator = scored(network, "decode|center(8)", f"ten_crop(average='{average}')")
    assert evaluator.views == 10
    views = [IMAGES[:, top : top + 8, left : left + 8] for top, left, _ in VIEWS]
    views = [v[:, :, ::-1] if flip else v for v, (_, _, flip) in zip(views, VIEWS, strict=True)]
    ten = np.stack([by_hand(network, v) for v in views])
    expected = probabilities(ten).mean(0) if average == "softmax" else probabilities(ten.mean(0))
    np.testing.assert_allclose(probabilities(scores), expected, rtol=1e-4, atol=1e-7)
    truth = expected[np.arange(N), LABELS]
    assert summary["loss"] == pytest.approx(-np.log(truth).mean(), rel=1e-4)
    assert summary["top1_error"] == pytest.approx(100 * (expected.argmax(1) != LABELS).mean())
    assert summary["top5_error"] == pytest.approx(100 * ((expected > truth[:, None]).sum(1) >= 5).mean())


def test_ten_crops_of_a_constant_image_are_the_single_crop(network):
    images = np.broadcast_to(IMAGES[:, :1, :1], IMAGES.shape)
    single, one, _ = scored(network, "decode|center(8)", "single", images)
    ten, mean, _ = scored(network, "decode|center(8)", "ten_crop", images)
    np.testing.assert_allclose(probabilities(mean), probabilities(one), rtol=1e-4, atol=1e-7)
    assert ten == pytest.approx(single, rel=1e-5)


def test_dense_is_the_mean_of_the_map_then_of_the_mirror_image(network):
    _, scores, evaluator = scored(network, "decode|center(8)", "dense")
    assert evaluator.views == 2
    maps = [by_hand(network, x) for x in (IMAGES, IMAGES[:, :, ::-1])]
    assert maps[0].shape == (N, 5, 5, CLASSES)
    expected = np.mean([probabilities(m.mean((1, 2))) for m in maps], axis=0)
    np.testing.assert_allclose(probabilities(scores), expected, rtol=1e-4, atol=1e-7)


def seen(ops, encoded):
    """Returns the views that an op string makes of an encoded image: float32 [views, h, w, c]."""
    host, device = pipeline.parse(ops, test=True)
    return np.asarray(
        pipeline.apply(device, None, host_ops.apply(host, np.zeros(2, np.int64), encoded, 3).numpy()[None])
    )


def test_144_views_of_a_drawn_image_are_where_the_paper_says():
    rows, columns = np.mgrid[:256, :320]
    drawn = np.stack([rows, np.minimum(columns, 255), np.maximum(columns - 255, 0)], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "png")
    (part,) = protocols.parts("crops_144", "decode|resize_short(256)|center(224)")
    assert len(part.passes) == 4
    count = 0
    for side, ops in zip((256, 288, 320, 352), part.passes, strict=True):
        shown = seen(op_string.write(ops), buffer.getvalue())
        assert shown.shape == (36, 224, 224, 3)
        count += len(shown)
        place = np.stack([shown[..., 0], shown[..., 1] + shown[..., 2]], -1)
        np.testing.assert_array_equal(place[1::2], place[::2, :, ::-1])
        room, edge, zoom = side * 320 // 256 - side, side - 224, 256 / side
        corners = [(0, 0), (0, edge), (edge, 0), (edge, edge), (edge // 2, edge // 2)]
        wanted = []
        for left in (0, room // 2, room):
            wanted += [[(top, left + x), (top + 223, left + x + 223)] for top, x in corners]
            wanted += [
                [(side / 448 - 0.5, left + side / 448 - 0.5), (side - side / 448 - 0.5, left + side - side / 448 - 0.5)]
            ]
        wanted = np.clip((np.array(wanted) + 0.5) * zoom - 0.5, 0, [255, 319])
        found = np.stack([place[::2, 0, 0], place[::2, -1, -1]], 1)
        assert np.abs(found - wanted).max() <= 1.01  # each of the three channels is rounded
    assert count == 144


@pytest.mark.parametrize(
    "protocol, ops, count",
    [
        ("dense(64)", "decode|resize_short(16)|center(8)|value_range(0, 9)", 2),
        ("multi_scale(32, 64)|multi_crop(16)", "decode|resize_center_crop(16)|value_range(0, 9)|center(8)", 54),
        ("crops_144", "decode|resize_short(16)|center(8)", 144),
    ],
)
def test_photographs_of_every_size_count_once(shared_data, protocol, ops, count):
    name = "validation[:13]"
    _, split = dataset.load_splits("imagenet2012", shared_data, "stream", name, name, ops, ops, "error")
    model, at = with_weights(Tiny(1000))
    evaluator = Evaluator(model, "softmax", split, protocol=protocol, batch_size=200)
    summary, scores, _ = evaluator(at)
    assert evaluator.views == count and summary["num_examples"] == len(scores) == 13
    index = np.array([0, 7, 12])
    encoded, _ = split.stream.source.parse(index, split.stream.source.reader.read(index))
    for i, image in zip(index, encoded, strict=True):
        parts = []
        for part in protocols.parts(protocol, ops):
            found = [np.asarray(model.apply(at, seen(op_string.write(p), image))) for p in part.passes]
            found = [f.mean((1, 2)) if f.ndim == 4 else f for f in found]
            parts.append(probabilities(np.concatenate(found)).mean(0))
        np.testing.assert_allclose(probabilities(scores[i]), np.mean(parts, 0), rtol=2e-3, atol=1e-6)


def test_several_protocols_average_their_probabilities(network):
    ops = "decode|center(8)"
    parts = [scored(network, ops, p) for p in ("ten_crop", "dense", "dense(average='score')")]
    summary, scores, evaluator = scored(network, ops, "ten_crop|dense|dense(average='score')")
    expected = np.mean([probabilities(s) for _, s, _ in parts], axis=0)
    np.testing.assert_allclose(probabilities(scores), expected, rtol=1e-4, atol=1e-7)
    assert evaluator.views == 14
    assert summary["loss"] == pytest.approx(-np.log(expected[np.arange(N), LABELS]).mean(), rel=1e-4)


def narrow_vgg(monkeypatch):
    """Returns VGG-D with a sixteenth of its feature maps and 16 units in fc6 and fc7."""
    narrow = lambda word: re.sub(r"\d+$", lambda maps: str(int(maps[0]) // 16), word)  # noqa: E731
    table = {row: tuple(" ".join(map(narrow, stage.split())) for stage in stages) for row, stages in vgg.TABLE.items()}
    monkeypatch.setattr(vgg, "TABLE", table)
    conv = vgg.Conv
    monkeypatch.setattr(vgg, "Conv", lambda maps, *a, **k: conv(16 if maps == 4096 else maps, *a, **k))
    return models.create("vgg_d", CLASSES, "float32")


@pytest.mark.parametrize("name", ["resnet20_cifar", "vgg_d"])
def test_dense_at_the_training_size_is_the_single_view(name, monkeypatch):
    model = narrow_vgg(monkeypatch) if name == "vgg_d" else models.create(name, CLASSES, "float32")
    side = model.input_shape[0]
    images = RNG.integers(0, 255, (3, side, side, 3), dtype=np.uint8)
    network, ops = with_weights(model), f"decode|center({side})|value_range(-1, 1)"
    single, one, _ = scored(network, ops, "single", images)
    dense, same, _ = scored(network, ops, "dense(flip=False)", images)
    np.testing.assert_array_equal(one, same)
    assert single == dense and np.ptp(one) > 0
    _, mirrored, _ = scored(network, ops, "single", images[:, :, ::-1])
    _, both, _ = scored(network, ops, "dense", images)
    expected = (probabilities(one) + probabilities(mirrored)) / 2
    np.testing.assert_allclose(probabilities(both), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 5, 11, 64])
def test_every_example_counts_once_for_any_batch_and_device_count(network, batch_size, devices, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    expected, _, _ = scored(network, "decode|center(8)", "ten_crop|dense", batch_size=20)
    found, scores, _ = scored(network, "decode|center(8)", "ten_crop|dense", batch_size=batch_size)
    assert found == pytest.approx(expected, rel=1e-5) and np.isfinite(scores).all()


@pytest.mark.parametrize("times, sizes", [
    (10, [10, 22, 100]),  # 100 / 10; 100 * 64 / (2 * 144) = 22; 100: all multiples of two devices
    (1, [10, 12, 12]),  # no more than the number of images
])  # fmt: skip
def test_the_pixels_of_a_step_stay_as_many(network, times, sizes):
    images = np.tile(IMAGES, (times, 1, 1, 1))
    _, _, evaluator = scored(network, "decode|center(8)", "ten_crop|dense|single", images, batch_size=100)
    splits = [split for _, passes in evaluator.parts for split, _ in passes]
    assert [evaluator._images_a_step(s, s.info.image_shape) for s in splits] == sizes


def test_a_lost_example_is_noticed(network, monkeypatch):
    schedule = sampler.evaluation_schedule
    monkeypatch.setattr(sampler, "evaluation_schedule", lambda n, batch, *_: list(schedule(n, batch))[:-1])
    with pytest.raises(AssertionError, match="8 examples counted, 11 expected"):
        scored(network, "decode|center(8)", "single")
    monkeypatch.setattr(sampler, "evaluation_schedule", lambda n, batch, *_: [*schedule(n - 1, 2), *schedule(1, 2)])
    with pytest.raises(AssertionError, match="2 of them not exactly once"):
        scored(network, "decode|center(8)", "single")


def test_images_of_many_sizes_are_grouped():
    shapes = [(4, 6), (6, 4), (4, 6), (4, 6), (5, 5), (6, 4)]
    singles = (
        {"index": np.array([i]), "mask": np.ones(1), "image": np.full((1, *s, 3), i, np.uint8)}
        for i, s in enumerate(shapes)
    )
    batches = list(group_by_size(singles, lambda shape: 2))
    assert all(len(b["index"]) == 2 for b in batches)
    assert all(set(b["image"][:, 0, 0, 0]) == set(b["index"]) for b in batches)
    assert sorted(int(i) for b in batches for i, m in zip(b["index"], b["mask"], strict=True) if m) == list(range(6))
    assert [b["image"].shape[1:3] for b in batches] == [(4, 6), (6, 4), (4, 6), (5, 5)]


def test_an_average_of_one_is_that_one_and_of_two_the_mean():
    scores = RNG.standard_normal((2, 5000, CLASSES)).astype(np.float32) * 3
    for kind in metrics.AVERAGES:
        np.testing.assert_array_equal(average_scores([scores[0]], kind), scores[0])
    np.testing.assert_allclose(
        np.exp(average_scores(list(scores), "softmax")), probabilities(scores).mean(0), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(average_scores(list(scores), "score"), scores.mean(0), rtol=1e-6, atol=1e-6)
    far = np.array([[0, -200, -300]], np.float32)  # the probabilities underflow in float32
    assert np.argsort(-average_scores([far, far], "softmax")[0]).tolist() == [0, 1, 2]


def test_the_change_of_features_is_that_of_what_goes_into_the_last_layer():
    model = models.create("stack", 3, "float32", layers="conv(4, 3)|relu|max(2)|out", side=8, channels=1)
    start = create_state(model, optax.identity(), 0)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    images[3] = 0  # without biases a zero image has zero features; it is not counted
    shifted = np.zeros_like(images)
    shifted[:, :, 2:] = images[:, :, :-2]

    def features(x):
        kernel = start.params["conv1"]["kernel"].transpose(3, 2, 0, 1)
        maps = jax.lax.conv(jnp.asarray(x, jnp.float32).transpose(0, 3, 1, 2), kernel, (1, 1), "VALID")
        return np.asarray(jnp.maximum(maps, 0)).reshape(5, 4, 3, 2, 3, 2).max((3, 5)).reshape(5, -1)

    before, after = features(images), features(shifted)
    kept = [0, 1, 2, 4]
    expected = np.mean(np.linalg.norm(after - before, axis=1)[kept] / np.linalg.norm(before, axis=1)[kept])
    split = split_of("decode|shift(0, 2)", images)
    found = feature_change.feature_change(model, start.variables, split, "decode", batch_size=2)
    assert found == pytest.approx(100 * expected, rel=1e-4)
    assert feature_change.feature_change(model, start.variables, split, "decode|shift(0, 2)", batch_size=2) == 0

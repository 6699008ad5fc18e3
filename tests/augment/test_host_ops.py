import io
from inspect import signature

import numpy as np
import pytest
from PIL import Image

from convnets.augment import host_ops, pipeline, sampling
from convnets.augment.device_ops import DEVICE
from convnets.errors import UsageError


def photograph(h, w, seed=0):
    """Returns a smooth random image with edges, uint8 [h, w, 3]."""
    small = np.random.default_rng(seed).integers(0, 255, (h // 12 + 2, w // 12 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC))


def encode(pixels, kind="jpeg", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def show(text, encoded, seed=0, test=False, channels=3):
    host, device = pipeline.parse("decode|" + text if text else "decode", test)
    assert not device
    return host_ops.apply(host, np.array([0, seed << 8], np.int64), encoded, channels).numpy()


def windows(text, h, w, seeds):
    """Returns the crop windows [n, 4] that an op string takes from an h x w image, one for each seed."""
    import tensorflow as tf

    encoded, calls = encode(np.zeros((h, w, 3), np.uint8)), pipeline.parse("decode|" + text)[0]

    def take(seed):
        image = sampling.begin(encoded, 3)
        for place, call in enumerate(calls):
            image = call(tf.stack([0, 256 * seed + place]), image)
        return image.windows[0]

    compiled = tf.function(take, input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
    return np.array([compiled(seed).numpy() for seed in seeds])


def window(text, h, w, seed=0):
    return windows(text, h, w, [seed])[0]


def resized(pixels, h, w):
    """Resizes bilinearly without antialiasing, by the definition."""
    place = [
        np.clip((np.arange(n) + 0.5) * size / n - 0.5, 0, size - 1)
        for n, size in ((h, len(pixels)), (w, pixels.shape[1]))
    ]
    (y, x), at = place, [np.minimum(p.astype(int), s - 2) for p, s in zip(place, pixels.shape, strict=False)]
    fy, fx = (y - at[0])[:, None, None], (x - at[1])[None, :, None]
    f = pixels.astype(float)
    rows = f[at[0]] * (1 - fy) + f[at[0] + 1] * fy
    return rows[:, at[1]] * (1 - fx) + rows[:, at[1] + 1] * fx


def close(a, b, levels=1):
    assert a.shape == b.shape and np.abs(a.astype(float) - b).max() <= levels


SIZES = [(375, 500), (500, 333), (150, 200), (256, 256)]


@pytest.mark.parametrize("h, w", SIZES)
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_decoding_a_window_is_cutting_the_resized_whole(h, w, kind):
    encoded = encode(photograph(h, w), kind)
    pixels = show("", encoded)
    H, W = 256 * h // min(h, w), 256 * w // min(h, w)
    whole = resized(pixels, H, W)
    top, left = (H - 224) // 2, (W - 224) // 2
    close(show("resize_short(256)|center(224)", encoded), whole[top : top + 224, left : left + 224])
    top, left = (H - 256) // 2, (W - 256) // 2
    close(show("resize_center_crop(256)", encoded), whole[top : top + 256, left : left + 256])
    corners = show("resize_short(256)|five_crop(224)", encoded, test=True)
    assert corners.shape == (5, 224, 224, 3)
    for view, (down, right) in zip(corners, [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)], strict=True):
        top, left = int((H - 224) * down), int((W - 224) * right)
        close(view, whole[top : top + 224, left : left + 224])


@pytest.mark.parametrize("h, w", SIZES)
def test_antialiased_is_pillows_bilinear(h, w):
    encoded = encode(photograph(h, w))
    pixels = show("", encoded)
    H, W = 200 * h // min(h, w), 200 * w // min(h, w)
    whole = np.asarray(Image.fromarray(pixels).resize((W, H), Image.Resampling.BILINEAR))
    top, left = (H - 160) // 2, (W - 160) // 2
    close(show("resize_short(200, antialias=True)|center(160)", encoded), whole[top : top + 160, left : left + 160], 2)
    noise = encode(np.random.default_rng(0).integers(0, 255, (h, w, 3), dtype=np.uint8), "png")
    smooth, rough = (show(f"resize_center_crop(64, antialias={a})", noise).std() for a in (True, False))
    assert smooth < 0.7 * rough


@pytest.mark.parametrize("text", ["inception_crop(64)", "resize_short(100, 140)|crop(96)"])
def test_the_fast_sampling_is_the_exact_one(text, monkeypatch):
    encoded = encode(photograph(150, 200))
    fast = [show(text, encoded, seed) for seed in range(5)]
    sample = host_ops.sample
    monkeypatch.setattr(host_ops, "sample", lambda image: sample(image._replace(several=True))[0])
    for seed, image in enumerate(fast):
        close(show(text, encoded, seed), image)


def placed(text, h, w, test=True):
    """Returns views of an image whose red and green channels hold the source row and column of each pixel."""
    rows, columns = np.mgrid[:h, :w]
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    return show(text, encode(image, "png"), test=test)[..., :2].astype(int)


def test_views_are_where_the_papers_say():
    views_of = placed("resize_short(100)|three_squares", 100, 160)
    assert [v[0, 0].tolist() for v in views_of] == [[0, 0], [0, 30], [0, 60]] and views_of.shape == (3, 100, 100, 2)
    assert [v[0, 0].tolist() for v in placed("resize_short(100)|three_squares", 160, 100)] == [[0, 0], [30, 0], [60, 0]]
    six = placed("resize_short(100)|three_squares|six_crop(80)", 100, 160)
    assert six.shape == (18, 80, 80, 2)
    wanted = [[0, 0], [0, 20], [20, 0], [20, 20], [10, 10], [0, 0]]
    assert [v[0, 0].tolist() for v in six[:6]] == wanted
    assert [v[0, 0].tolist() for v in six[12:]] == [[a, b + 60] for a, b in wanted]
    assert six[4, -1, -1].tolist() == [89, 89] and six[5, -1, -1].tolist() == [99, 99]
    grid = placed("resize_short(100)|grid(5, 60)", 100, 140)
    assert [v[0, 0].tolist() for v in grid] == [[10 * i, 20 * j] for i in range(5) for j in range(5)]
    assert placed("resize_short(100)|grid(1, 60)", 100, 140)[0, 0, 0].tolist() == [20, 40]
    whole = placed("resize_short(100)|crop_to_multiple(32)", 100, 150)
    assert whole.shape == (96, 128, 2) and whole[0, 0].tolist() == [2, 11]


@pytest.mark.parametrize("sides", [(375, 500), (501, 334), (300, 451)])
def test_the_central_crop_is_that_of_the_central_square(sides):
    encoded = encode(photograph(*sides), "png")
    square = show("resize_center_crop(256)", encoded, test=True)
    close(show("resize_short(256)|center(224)", encoded, test=True), square[16:-16, 16:-16])


def test_the_same_operation_on_host_and_device():
    shared = host_ops.HOST.keys() & DEVICE.keys()
    assert shared == {"center", "crop", "five_crop"}
    for name in shared:  # the same op string is valid on host and device
        ours, theirs = (list(signature(table[name].function).parameters)[2:] for table in (host_ops.HOST, DEVICE))
        assert ours == theirs
    pixels = photograph(100, 140)
    encoded = encode(pixels, "png")
    for name in ("center(60)", "five_crop(60)"):
        host = show(f"resize_short(100)|{name}", encoded, test=True)
        device = pipeline.apply(pipeline.parse(f"decode|{name}", test=True)[1], None, pixels[None])
        np.testing.assert_array_equal(host.reshape(-1, 60, 60, 3), device)
    host, device = pipeline.parse("decode|resize_center_crop(100)|center(60)|five_crop(40)|with_flip", test=True)
    assert [c.name for c in host] == ["decode", "resize_center_crop"] and [c.name for c in device] == [
        "center",
        "five_crop",
        "with_flip",
    ]
    x = np.zeros((2, 100, 100, 3), np.uint8)
    assert pipeline.apply(device, None, x).shape == (20, 40, 40, 3)


def test_crops_are_everywhere_alike():
    at = windows("resize_short(100)|crop(60)", 100, 130, range(600))
    assert set(map(tuple, at[:, 2:].tolist())) == {(60.0, 60.0)}
    for place, room in ((at[:, 0], 40), (at[:, 1], 70)):
        assert place.min() == 0 and place.max() == room
        counts = np.bincount((place / (room + 1) * 5).astype(int), minlength=5)
        assert np.all(np.abs(counts - 120) < 45)
    assert abs(np.corrcoef(at[:, 0], at[:, 1])[0, 1]) < 0.15


def test_resize_short_draws_every_side():
    sides = 60 * 100 / windows("resize_short(100, 104)|crop(60)", 1000, 1300, range(500))[:, 2] * 10
    counts = np.bincount(np.round(sides).astype(int))[100:]
    assert len(counts) == 5 and np.all(np.abs(counts - 100) < 40)


def common_inception_crops(h, w, n):
    """Draws `n` crops in a plain loop; returns their areas and log aspect ratios."""
    rng, found = np.random.default_rng(0), []
    while len(found) < n:
        area, ratio = rng.uniform(0.08, 1), rng.uniform(3 / 4, 4 / 3) ** rng.choice([-1, 1])
        height, width = round((h * w * area / ratio) ** 0.5), round((h * w * area * ratio) ** 0.5)
        if height <= h and width <= w:
            found.append((height * width / (h * w), np.log(width / height)))
    return np.array(found).T


def test_inception_crops_have_the_papers_areas_and_aspects():
    h, w = 300, 400
    top, left, height, width = windows("inception_crop(64)", h, w, range(800)).T
    assert np.all(top >= 0) and np.all(left >= 0) and np.all(top + height <= h) and np.all(left + width <= w)
    area, aspect = height * width / (h * w), width / height
    assert 0.075 < area.min() < 0.1 and area.max() > 0.9
    assert aspect.min() > 0.74 and aspect.max() < 1.35 and abs(np.log(aspect).mean()) < 0.05
    for ours, theirs in zip((area, np.log(aspect)), common_inception_crops(h, w, 4000), strict=True):
        quarters = np.quantile(theirs, [0.25, 0.5, 0.75])
        assert np.abs(np.bincount(np.searchsorted(quarters, ours)) - 200).max() < 45
    assert show("inception_crop(64)", encode(photograph(30, 300))).shape == (64, 64, 3)
    _, left, _, width = windows("resize_center_crop(256)|inception_crop(64)", h, w, range(100)).T
    assert np.all(left >= 50) and np.all(left + width <= 350)  # within the square that was cut out, 49.3 to 349.6


@pytest.mark.parametrize("seed", [1, 2, 4])
@pytest.mark.parametrize("power", [1, 2])
def test_inception_crops_are_those_of_fb_resnet_torch(seed, power):
    """datasets/transforms.lua: U(3/4, 4/3) for width / height, then a swap with probability 1/2.

    Its first commit, 6f9402d, has w = sqrt(area) * ratio and h = sqrt(area) / ratio, so that w / h is the ratio's square.
    """
    import tensorflow as tf

    height, width = window(f"inception_crop(64, squared={power == 2})", 3000, 4000, seed)[2:]
    area, ratio, swap = tf.random.stateless_uniform([host_ops.ATTEMPTS, 3], [0, (seed << 8) + 1]).numpy()[0]
    area, ratio = 3000 * 4000 * (0.08 + 0.92 * area), 3 / 4 + (4 / 3 - 3 / 4) * ratio
    sides = [area**0.5 / ratio ** (power / 2), area**0.5 * ratio ** (power / 2)]
    np.testing.assert_allclose([height, width], sides[::-1] if swap < 0.5 else sides, atol=1)


def test_cubic_sampling_is_pillows():
    pixels = photograph(60, 80)
    whole = np.asarray(Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC))
    close(show("resize_short(120, cubic=True)|center(100)", encode(pixels, "png")), whole[10:110, 30:130], 1)
    step = np.repeat(np.array([0, 255], np.uint8), 8)[None, :, None].repeat(16, 0).repeat(3, 2)
    larger = show("resize_center_crop(32, cubic=True)", encode(step, "png"))  # the kernel's overshoot must not wrap
    assert np.all(np.diff(larger[0, :, 0].astype(int)) >= -20) and larger[0, 0, 0] == 0 and larger[0, -1, 0] == 255
    assert np.ptp(show("inception_crop(32, area=(1.0, 1.0), aspect=(1.0, 1.0), cubic=True)", encode(step, "png"))
                  .astype(int) - larger) <= 1  # fmt: skip


def test_inception_crop_falls_back_to_the_middle():
    """fb.resnet.torch scales the shorter side to n and takes the middle (transforms.lua, lines 131, 132 and 161)."""
    assert window("inception_crop(64)", 10, 400).tolist() == [0, 195, 10, 10]
    assert window("inception_crop(64)", 400, 10).tolist() == [195, 0, 10, 10]
    assert window("inception_crop(64, area=(1.0, 1.0), aspect=(1.0, 1.0))", 40, 60).tolist() == [0, 10, 40, 40]


@pytest.mark.parametrize("text", ["inception_crop(32)", "resize_short(40, 60)|crop(32)"])
def test_same_seed_same_pixels_eager_and_compiled(text):
    import tensorflow as tf

    encoded = encode(photograph(90, 120))
    host = pipeline.parse("decode|" + text)[0]
    compiled = tf.function(lambda seed, image: host_ops.apply(host, seed, image, 3))
    shown = [show(text, encoded, seed) for seed in range(6)]
    for seed, image in enumerate(shown):
        np.testing.assert_array_equal(show(text, encoded, seed), image)
        np.testing.assert_array_equal(compiled(tf.constant([0, seed << 8], tf.int64), tf.constant(encoded)), image)
    assert len({image.tobytes() for image in shown}) == 6


def test_gray_cmyk_and_png_become_rgb():
    pixels = photograph(60, 80)
    for encoded in (encode(pixels, mode="CMYK", quality=95), encode(pixels, "png"), encode(pixels, "bmp")):
        close(show("", encoded), pixels, 30)
        assert np.abs(show("", encoded).astype(float) - pixels).mean() < 4
        assert show("resize_center_crop(32)", encoded).shape == (32, 32, 3)
    gray = show("resize_center_crop(32)", encode(pixels, mode="L"))
    assert gray.shape == (32, 32, 3) and np.ptp(gray, axis=2).max() == 0 and gray.std() > 10
    assert show("resize_center_crop(32)", encode(pixels, mode="L"), channels=1).shape == (32, 32, 1)


@pytest.mark.parametrize(
    "text, test, message",
    [
        ("resize_short(256)", False, "different sizes after 'resize_short'; add crop"),
        ("resize_short(256)|flip", False, "different sizes after 'resize_short'; add crop"),
        ("resize_short(256)|crop_to_multiple(32)", False, "different sizes after 'crop_to_multiple'; add crop"),
        ("resize_short(256)", True, "add center"),
        ("resize_short(256)|crop(224)", True, "'crop' is random"),
        ("resize_short(256, 480)|center(224)", True, "'resize_short' is random"),
        ("inception_crop(224)", True, "'inception_crop' is random"),
        ("resize_short(256)|six_crop(224)", False, "'six_crop' gives several views"),
        ("resize_center_crop(64)|with_flip", False, "'with_flip' gives several views"),
        ("resize_center_crop(64)|flip|inception_crop(32)", False, "'inception_crop' works on the host"),
        ("resize_short(256)|crop(257)", False, r"crop\(257\): the shorter side of the image may be only 256"),
        ("resize_short(256, 200)|crop(64)", False, r"resize_short\(256, 200\): the second side is smaller"),
        ("resize_center_crop(0)", False, "n must be int of at least 1, not 0"),
        ("inception_crop(64, area=0.5)", False, r"area must be \(float, float\), not 0.5"),
        ("inception_crop(64, area=(0.1,))", False, r"area must be \(float, float\), not \(0.1,\)"),
        ("inception_crop(64, area=(0.5, 0.2))", False, "inception_crop: area is"),
        ("inception_crop(64, area=(0.5, 2.0))", False, "inception_crop: area is"),
        ("resize_short('256')|crop(64)", False, "a must be int"),
        ("resize_shor(256)", False, "did you mean 'resize_short'"),
    ],
)
def test_wrong_strings_are_explained(text, test, message):
    with pytest.raises(UsageError, match=message):
        pipeline.parse("decode|" + text, test)


@pytest.mark.parametrize("text", ["six_crop(5)", "three_squares", "grid(2, 5)", "crop_to_multiple(4)"])
def test_windows_apply_to_an_image_of_its_own_size(text):
    """Without a resize before it, an operation places its windows on the pixels of the image itself."""
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    found = show(text, encode(pixels, "png"), test=True)
    wanted = show(f"resize_short(9)|{text}", encode(pixels, "png"), test=True)
    np.testing.assert_array_equal(found, wanted)
    assert found.shape[1:3] != (9, 12)

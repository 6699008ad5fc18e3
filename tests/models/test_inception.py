"""GoogLeNet and BN-Inception: the papers' tables module by module, and auxiliary heads that exist only in training."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.errors import UsageError
from convnets.layers import LRN, Conv, Dense, pool
from convnets.models import googlenet, inception_bn
from convnets.models.summary import sum_costs, summarize, variable_shapes
from convnets.runtime.arrays import name_leaves

# The "output size" column of table 1 of Szegedy et al. 2014 and of figure 5 of Ioffe & Szegedy 2015. In the latter,
# 3c and 4e have the size after the stride (see the model module's docstring).
GOOGLENET = {
    "3a": (28, 256), "3b": (28, 480), "4a": (14, 512), "4b": (14, 512), "4c": (14, 512), "4d": (14, 528),
    "4e": (14, 832), "5a": (7, 832), "5b": (7, 1024),
}  # fmt: skip
BN_INCEPTION = {
    "3a": (28, 256), "3b": (28, 320), "3c": (14, 576), "4a": (14, 576), "4b": (14, 576), "4c": (14, 576),
    "4d": (14, 576), "4e": (7, 1024), "5a": (7, 1024), "5b": (7, 1024),
}  # fmt: skip
SMALL = {"googlenet": 80, "bn_inception": 64}  # input sides in pixels; the heads of GoogLeNet need at least 79


def image(side, n=1):
    return jax.ShapeDtypeStruct((n, side, side, 3), jnp.float32)


def scores(model, variables, x, train):
    def apply(variables, x):
        return model.apply(variables, x, train=train, rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"])[0]

    return jax.eval_shape(apply, variables, x)


@pytest.mark.parametrize(
    ("name", "kind", "table"),
    [("googlenet", googlenet.Inception, GOOGLENET), ("bn_inception", inception_bn.Inception, BN_INCEPTION)],
)
def test_modules_have_the_sizes_of_the_table(name, kind, table):
    model, seen = models.create(name, 1000, "float32"), {}

    def intercept(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(context.module, kind):
            seen[context.module.name] = y.shape[1:]
        return y

    with nn.intercept_methods(intercept):
        variable_shapes(model, (224, 224, 3))
    assert seen == {f"inception_{k}": (side, side, maps) for k, (side, maps) in table.items()}


def test_parameters_of_inception_3a():
    params = variable_shapes(models.create("googlenet_main", 1000, "float32"), (224, 224, 3))["params"]["inception_3a"]
    assert sum(v.size for k, v in name_leaves(params).items() if k.endswith("kernel")) == 163_328
    assert sum(v.size for k, v in name_leaves(params).items() if k.endswith("bias")) == 368


def test_separable_stem_has_the_counts_of_table_1():
    rows = summarize(models.create("googlenet_main", 1000, "float32", separable=True), (224, 224, 3))
    assert sum_costs(rows)["multiply_adds"] == 1_498_677_248
    assert sum_costs(rows)["parameters"] == 6_998_552 - 7 * 7 * 3 * 64 + 2_712
    assert sum(r.multiply_adds for r in rows if r.name.startswith("conv1")) == 34_019_328


def test_bn_inception_has_the_variables_of_its_authors_program():
    """tensorflow/models 169dcbd, research/slim/nets/inception_v2_test.py: 10,173,112 variables below the classifier.

    Its normalization has running statistics but no scale, and its first convolution a bias instead of a normalization.
    """
    variables = name_leaves(variable_shapes(models.create("bn_inception", 1000, "float32"), (224, 224, 3)))
    counted = {k: v.size for k, v in variables.items() if not k.endswith("/scale") and "/linear/" not in k}
    first = [k for k in counted if "/conv1/1x1_bn/" in k]
    assert sorted(k.split("/")[-1] for k in first) == ["bias", "mean", "var"]
    assert sum(counted.values()) - sum(counted[k] for k in first) + 64 == 10_173_112


def test_the_public_ports_of_bn_inception():
    """apache/mxnet 59b402c, example/image-classification/symbols/inception-bn.py: 4c and 4d project to 128 maps."""
    rows = {r.name: r for r in summarize(models.create("bn_inception", 1000, "float32", port=True), (224, 224, 3))}
    assert rows["conv1/7x7_s2"].output == [112, 112, 64] and "conv1_depthwise" not in rows
    assert [rows[f"inception_{m}/pool_proj"].output[-1] for m in ("4b", "4c", "4d", "5a")] == [128] * 4
    assert rows["inception_4e/pool"].output == [7, 7, 608] and rows["inception_5a/pool"].output == [7, 7, 1056]
    total = sum_costs(rows.values())
    assert (total["parameters"], total["multiply_adds"]) == (11_285_224, 2_032_600_064)


def test_receptive_field_takes_the_widest_branch_and_no_normalization():
    rows = {r.name: r.receptive_field for r in summarize(models.create("googlenet", 10, "float32"), (224, 224, 3))}
    # By hand: conv1 7, pool1 + 2 x 2, conv2 + 2 x 4, pool2 + 2 x 4; then 5x5 adds 4 x 8, 3x3 only 2 x 8.
    assert (rows["conv1/7x7_s2"], rows["pool1"], rows["norm1"], rows["conv2/3x3"], rows["pool2"]) == (7, 11, 11, 19, 27)
    assert (rows["inception_3a/3x3"], rows["inception_3a/5x5"], rows["inception_3b/1x1"]) == (43, 59, 59)


@pytest.mark.parametrize(("side", "half"), [(112, 56), (56, 28), (28, 14), (14, 7)])
def test_halving_pools_hang_over_the_edge(side, half):
    x = jnp.arange(side, dtype=jnp.float32)[None, :, None, None] * jnp.ones((1, 1, side, 1))
    y = pool(x, "max", 3, 2, ceil=True)
    assert y.shape == (1, half, half, 1)
    # The first window begins at pixel 0; the last covers two pixels and one beyond the edge.
    np.testing.assert_array_equal(y[0, :, 0, 0], np.minimum(np.arange(half) * 2 + 2, side - 1))


def test_heads_are_named_and_only_there_in_training():
    model, x = models.create("googlenet", 10, "float32"), image(80, 2)
    variables = variable_shapes(model, x.shape[1:])
    assert scores(model, variables, x, train=False).shape == (2, 10)
    main, auxiliary = scores(model, variables, x, train=True)
    assert main.shape == (2, 10)
    assert {k: v.shape for k, v in auxiliary.items()} == {"loss1": (2, 10), "loss2": (2, 10)}
    plain = models.create("googlenet_main", 10, "float32")
    assert scores(plain, variable_shapes(plain, x.shape[1:]), x, train=True).shape == (2, 10)
    assert name_leaves(variable_shapes(plain, x.shape[1:])).keys() == {
        k for k in name_leaves(variables) if "/loss" not in k
    }


def test_evaluation_does_not_run_the_heads():
    model, x = models.create("googlenet", 10, "float32"), image(224)
    ran = []

    def intercept(call, args, kwargs, context):
        ran.append(context.module.path[0] if context.module.path else "")
        return call(*args, **kwargs)

    variables = variable_shapes(model, x.shape[1:])
    for train, heads in ((False, set()), (True, {"loss1", "loss2"})):
        ran.clear()
        with nn.intercept_methods(intercept):
            scores(model, variables, x, train=train)
        assert "inception_5b" in ran
        assert {"loss1", "loss2"} & set(ran) == heads


def test_heads_explain_too_small_images():
    with pytest.raises(ValueError, match="79 pixels and more, or aux=False"):
        variable_shapes(models.create("googlenet", 10, "float32"), (78, 78, 3))
    variable_shapes(models.create("googlenet", 10, "float32"), (79, 79, 3))
    variable_shapes(models.create("googlenet_main", 10, "float32"), (32, 32, 3))


@pytest.mark.parametrize("name", SMALL)
def test_initial_weights_are_caffes(name):
    model = models.create(name, 10, "float32")
    conv = {"googlenet": googlenet, "bn_inception": inception_bn}[name].caffe_xavier()
    kernel = conv(jax.random.key(0), (3, 3, 12, 1000))  # fan-in 108, variance 1/108
    assert float(jnp.abs(kernel).max()) <= (3 / 108) ** 0.5
    assert float(kernel.var()) == pytest.approx(1 / 108, rel=0.02)
    assert all(
        v.dtype == jnp.float32 for v in name_leaves(variable_shapes(model, (SMALL[name], SMALL[name], 3))).values()
    )


def filled(model, x):
    """Draws the model's variables from its initial distributions with NumPy: compiling 130 draws is slow."""
    rng = np.random.default_rng(0)

    def fill(path, v):
        if path[-1].key == "kernel":
            return rng.uniform(-1, 1, v.shape).astype(np.float32) * np.float32((3 / np.prod(v.shape[:-1])) ** 0.5)
        return np.full(v.shape, {"bias": 0.2, "scale": 1, "mean": 0, "var": 1}[path[-1].key], np.float32)

    return jax.tree_util.tree_map_with_path(fill, variable_shapes(model, x.shape[1:]))


def test_evaluation_does_not_depend_on_the_heads():
    model, x = models.create("googlenet", 10, "float32"), jax.random.normal(jax.random.key(1), (2, 80, 80, 3))
    params = filled(model, x)["params"]
    broken = {
        k: jax.tree.map(lambda v: v * np.float32("nan"), v) if k.startswith("loss") else v for k, v in params.items()
    }
    evaluate = jax.jit(lambda p: model.apply({"params": p}, x, train=False))
    y = np.asarray(evaluate(broken))
    assert y.shape == (2, 10)
    assert np.isfinite(y).all() and (y != 0).any()
    np.testing.assert_array_equal(y, evaluate(params))


def test_options_of_googlenet():
    def create(**options):
        return models.create("googlenet_main", 10, "float32", **options)

    x = image(32)
    like = name_leaves(variable_shapes(create(), x.shape[1:]))
    for options in ({"lrn": "caffe"}, {"lrn": "none"}, {"init_weights": "normal"}, {"init_weights": "he"}):
        assert name_leaves(variable_shapes(create(**options), x.shape[1:])) == like
    seen = {}

    def intercept(call, args, kwargs, context):
        if isinstance(context.module, LRN):
            seen[context.module.name] = (context.module.k, context.module.alpha, context.module.divide)
        return call(*args, **kwargs)

    for lrn, constants in {"paper": (2.0, 1e-4, False), "caffe": (1.0, 1e-4, True), "none": None}.items():
        seen.clear()
        with nn.intercept_methods(intercept):
            variable_shapes(create(lrn=lrn), x.shape[1:])
        assert seen == ({"norm1": constants, "norm2": constants} if constants else {})
    for rule, std in (("caffe", 147**-0.5), ("normal", 0.01), ("he", (2 / 147) ** 0.5), ("gaussian", 0.1)):
        drawn = googlenet.INITS[rule]("conv1", "7x7_s2")(jax.random.key(0), (7, 7, 3, 640))
        assert float(drawn.std()) == pytest.approx(std, rel=0.02)
    for option in ("lrn", "init_weights"):
        with pytest.raises(UsageError, match="did you mean 'caffe'"):
            variable_shapes(create(**{option: "cafe"}), x.shape[1:])


class Drawn(NamedTuple):
    """Stands for an initializer: N(0, std^2), or without a deviation Caffe's xavier."""

    std: float | None = None

    def __call__(self, key, shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype)


def test_the_gaussian_weights_have_the_deviations_of_caffes_first_file():
    """BVLC/caffe f15210cdc, models/bvlc_googlenet/train_val.prototxt: the std of every filler."""
    seen = {}

    def intercept(call, args, kwargs, context):
        if isinstance(context.module, Conv | Dense):
            seen["/".join(context.module.path)] = context.module.kernel_init.std
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept), pytest.MonkeyPatch.context() as patch:
        patch.setattr(googlenet, "normal", Drawn)
        patch.setattr(googlenet, "caffe_xavier", Drawn)
        variable_shapes(models.create("googlenet", 10, "float32", init_weights="gaussian"), (80, 80, 3))
    module = {"1x1": 0.03, "3x3_reduce": 0.09, "3x3": 0.03, "5x5_reduce": 0.2, "5x5": 0.03, "pool_proj": 0.1}
    head = {"conv": 0.08, "fc": 0.02, "classifier": 0.0009765625}
    expected = {
        "conv1/7x7_s2": 0.1,
        "conv2/3x3_reduce": 0.1,
        "conv2/3x3": 0.03,
        "linear": None,
    }  # without a std: xavier
    expected |= {f"inception_{m}/{k}": v for m in googlenet.MODULES for k, v in module.items()}
    expected |= {f"loss{n}/{k}": v for n in (1, 2) for k, v in head.items()}
    assert seen == expected


def test_the_initial_weights_reach_every_layer():
    model = models.create("googlenet", 10, "float32", init_weights="normal")
    drawn = []

    def constant_init(key, shape, dtype=jnp.float32):
        drawn.append(shape)
        return jnp.zeros(shape, dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(googlenet.INITS, "normal", lambda block, layer: constant_init)
        like = name_leaves(variable_shapes(model, (80, 80, 3)))
    assert len(drawn) == sum(k.endswith("kernel") for k in like)


def test_networks_of_the_ablation():
    def create(**options):
        return models.create("bn_inception", 1000, "float32", **options)

    plain, baseline = create(norm=False, lrn=True, dropout=0.4), create(lrn=True, dropout=0.4)
    x = image(64, 2)
    normed, biased, both = (variable_shapes(model, x.shape[1:]) for model in (create(), plain, baseline))
    channels = sum(v.size for k, v in name_leaves(normed["params"]).items() if k.endswith("scale"))
    assert channels == 11_295_240 - 11_285_224 - 2 * 32  # the ports' biases, one for every map; 4c and 4d have 32 more
    assert sum(v.size for v in name_leaves(biased).values()) == 11_188_288 - channels
    assert "batch_stats" not in biased
    assert name_leaves(both).keys() == name_leaves(normed).keys()
    for model, variables in ((plain, biased), (baseline, both), (create(activation="sigmoid"), normed)):
        assert scores(model, variables, x, train=True).shape == (2, 1000)
    names = [r.name for r in summarize(baseline, (224, 224, 3))]
    assert names.index("pool1") + 1 == names.index("norm1")
    assert names.index("norm2") + 1 == names.index("pool2")
    with pytest.raises(UsageError, match="did you mean 'sigmoid'"):
        variable_shapes(create(activation="sigmoyd"), x.shape[1:])


@pytest.mark.parametrize("name", ["googlenet", "bn_inception"])
def test_bfloat16_computes_in_bfloat16(name):
    model = models.create(name, 10, "bfloat16")
    x = jax.ShapeDtypeStruct((2, 96, 96, 3), jnp.bfloat16)
    variables = variable_shapes(model, x.shape[1:])
    assert {v.dtype for v in name_leaves(variables).values()} == {jnp.dtype("float32")}
    assert {v.dtype for v in name_leaves(scores(model, variables, x, train=True)).values()} == {jnp.dtype("bfloat16")}


def test_an_image_of_another_size_is_explained():
    with pytest.raises(UsageError, match="multiples of 32, not 200 x 200"):
        variable_shapes(models.create("bn_inception", 10, "float32"), (200, 200, 3))

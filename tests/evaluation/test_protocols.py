import pytest

import experiments.resnet
from configs import googlenet, resnet
from convnets import models, op_string
from convnets.augment import pipeline
from convnets.errors import UsageError
from convnets.evaluation import evaluator, protocols

ALEXNET = "decode|resize_center_crop(256)|subtract_mean|center(224)"
RESNET = "decode|resize_short(256, antialias=True)|center(224)|subtract_mean('colour')|standardize"
CIFAR = "decode|center(24)|subtract_mean('center')"
HE = resnet.get_config("50").data.test_ops


def passes(protocol, test_ops):
    (part,) = protocols.parts(protocol, test_ops)
    return [op_string.write(ops) for ops in part.passes]


@pytest.mark.parametrize(
    "protocol, test_ops, expected",
    [
        ("single", RESNET, [RESNET]),
        ("ten_crop", ALEXNET, ["decode|resize_center_crop(256)|subtract_mean|five_crop(224)|with_flip"]),
        ("ten_crop", CIFAR, ["decode|five_crop(24)|with_flip|subtract_mean('center')"]),
        # authors' readme
        ("ten_crop", HE, ["decode|resize_short(256)|five_crop(224)|with_flip|subtract_mean('colour')"]),
        (
            "ten_crop",
            RESNET,
            ["decode|resize_short(256, antialias=True)|five_crop(224)|with_flip|subtract_mean('colour')|standardize"],
        ),
        (
            "crops_144",
            "decode|resize_center_crop(256)|center(224)|standardize",
            [
                f"decode|resize_short({s})|three_squares|six_crop(224)|standardize|with_flip"
                for s in (256, 288, 320, 352)
            ],
        ),
        ("dense", CIFAR, ["decode|subtract_mean('center')|with_flip"]),
        ("dense(flip=False)", "decode|center(24)", ["decode"]),
        ("dense(384)", "decode|standardize", ["decode|resize_short(384)|crop_to_multiple(32)|standardize|with_flip"]),
        (
            "dense",
            "decode|resize_center_crop(n=256)|center(224)",
            ["decode|resize_short(256)|crop_to_multiple(32)|with_flip"],
        ),
        ("dense(384, multiple=1)", "decode", ["decode|resize_short(384)|crop_to_multiple(1)|with_flip"]),
        (
            "multi_scale(256, 384, multiple=1)",
            "decode|resize_short(256)|center(224)",
            [f"decode|resize_short({s})|crop_to_multiple(1)|with_flip" for s in (256, 384)],
        ),
        (
            "multi_scale(224, 640)",
            RESNET,
            [
                f"decode|resize_short({s}, antialias=True)|crop_to_multiple(32)|subtract_mean('colour')|standardize|with_flip"
                for s in (224, 640)
            ],
        ),
        (
            "multi_crop(256, 512)",
            "decode | resize_short(256) | center(224) | standardize",
            [f"decode|resize_short({s})|grid(5, 224)|standardize|with_flip" for s in (256, 512)],
        ),
    ],
)
def test_a_protocol_is_a_list_of_test_strings(protocol, test_ops, expected):
    assert passes(protocol, test_ops) == expected


def test_the_ten_crops_of_googlenet_lie_in_the_central_square():
    """Krizhevsky et al. 2012, sections 2 and 4.1; three squares at each scale: Szegedy et al. 2014, section 7."""
    test_ops = googlenet.get_config("paper").data.test_ops
    assert passes("ten_crop", test_ops) == [
        "decode|resize_center_crop(256)|five_crop(224)|with_flip|subtract_mean('colour')"
    ]
    rectangle = test_ops.replace("resize_center_crop", "resize_short")
    assert rectangle != test_ops and passes("crops_144", test_ops) == passes("crops_144", rectangle)


def test_ten_crops_average_what_their_source_averages():
    """KaimingHe/deep-residual-networks, readme, line 75: softmax; fb.resnet.torch, train.lua, line 128: raw scores."""
    rows = [row for row in experiments.resnet.EXPERIMENT.full.rows if "ten" in row.tests]
    tests = {row.label: row.tests["ten"].overrides[0].partition("=")[2] for row in rows}
    for label, protocol in tests.items():
        (part,) = protocols.parts(protocol, HE)
        assert part.average == ("score" if "v1_5" in label else "softmax"), label
    assert {"50", "50_v1_5", "152_v1_5"} <= tests.keys()


def test_several_scales_average_what_their_source_averages():
    """He et al. 2015, table 4: 'scores', as softmax like the ten crops of the authors' readme, line 75."""
    rows = [row for row in experiments.resnet.EXPERIMENT.full.rows if row.config and "multi-scale" in row.tests]
    for row in rows:
        (part,) = protocols.parts(row.tests["multi-scale"].overrides[0].partition("=")[2], HE)
        assert (part.average, part.sides) == ("softmax", (224, 256, 384, 480, 640)), row.label
    assert [row.label for row in rows] == ["34", "34C", "50", "101", "152"]


def test_protocols_are_joined_and_average_what_they_are_told():
    both = protocols.parts("multi_scale(256, 384, 512, average='score')|multi_crop(256)", RESNET)
    assert [(p.average, len(p.passes)) for p in both] == [("score", 3), ("softmax", 1)]
    assert both[0].sides == (256, 384, 512) and both[1].sides == ()


COLOUR, CROP = "subtract_mean('colour')", "center(24)"


@pytest.mark.parametrize(
    "protocol, test_ops, message",
    [
        ("ten_crops", CIFAR, "did you mean 'ten_crop'"),
        ("", CIFAR, "no protocol"),
        ("ten_crop(average='logit')", CIFAR, "average is 'logit': choose one of score, softmax"),
        ("ten_crop", "decode|standardize", "there is none: add |center(n)"),
        ("multi_crop(32)", "decode|standardize", "add |center(n)"),
        ("single", "decode|five_crop(24)|with_flip", "data.test_ops has 'five_crop', which is for evaluate.protocol"),
        (
            "dense",
            "decode|resize_short(40)|crop_to_multiple(32)",
            "data.test_ops has 'crop_to_multiple', which is for evaluate.protocol",
        ),
        ("ten_crop(average=[3])", CIFAR, "average must be str, not [3]"),
        ("multi_scale", CIFAR, "give the shorter sides"),
        ("multi_crop", CIFAR, "give the shorter sides"),
        ("multi_scale(24.5)", CIFAR, "sizes must be int"),
        ("dense", CIFAR + "|subtract_mean", "write subtract_mean('colour')"),
        ("dense(64)", CIFAR, "write subtract_mean('colour')"),
        ("crops_144", ALEXNET, "write subtract_mean('colour')"),
        ("multi_crop(256)", ALEXNET, "write subtract_mean('colour')"),
    ],
)
def test_says_what_a_test_string_lacks(protocol, test_ops, message):
    with pytest.raises(UsageError) as e:
        protocols.parts(protocol, test_ops)
    assert message in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    "network, loss, protocol, test_ops, message",
    [
        ("cuda_convnet_13pct", "softmax", "dense", CIFAR, "like 56 x 88, and this network takes 24 x 24 alone"),
        ("lenet5", "rbf_map", "dense", "decode|center(32)", "takes 32 x 32 alone"),
        ("lenet5", "mse", "ten_crop", "decode|center(32)", "average='score'"),
        ("lenet5", "mse", "single|ten_crop(average='score')", "decode|center(32)", "average='score'"),
        ("resnet20_cifar", "softmax", "dense", CIFAR, None),
        ("cuda_convnet_26pct", "softmax", "dense", "decode|subtract_mean", None),
        ("lenet5", "mse", "ten_crop(average='score')", "decode|center(32)", None),
        ("lenet5", "mse", "single", "decode|center(32)", None),
        ("bn_inception", "softmax", "dense(256, multiple=1)", "decode", "like 256 x 257"),
        ("vgg_d", "softmax", "dense(200, multiple=1)", "decode", None),
    ],
)
def test_a_protocol_has_to_suit_the_network(network, loss, protocol, test_ops, message):
    model = models.create(network, 10, "float32")
    if message is None:
        return evaluator.check(model, loss, test_ops, protocol)
    with pytest.raises(UsageError) as e:
        evaluator.check(model, loss, test_ops, protocol)
    assert message in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("protocol", ["ten_crop", "crops_144", "multi_crop(256, 384, 512)"])
def test_a_second_crop_is_refused(protocol):
    """A protocol that replaced one of them would show views of the other's size."""
    with pytest.raises(UsageError, match="'center' twice"):
        protocols.parts(protocol, "decode|resize_short(256)|center(256)|subtract_mean|center(224)")


def test_a_wrong_pass_is_found_without_data():
    with pytest.raises(UsageError, match="random"):
        evaluator.check(models.create("resnet20_cifar", 10, "float32"), "softmax", "decode|flip|center(24)", "ten_crop")
    assert pipeline.output_shape(pipeline.parse("decode|five_crop(24)|with_flip", True)[1], (32, 32, 3)) == (
        10,
        24,
        24,
        3,
    )

"""AlexNet on ILSVRC-2012: Krizhevsky, Sutskever, Hinton 2012, sections 4 and 5.

    python run.py --config=configs/alexnet.py:paper --config.data.data_dir=DIR --workdir=runs/alexnet
    python run.py --mode=evaluate --workdir=runs/alexnet --config.evaluate.protocol=ten_crop

The argument selects the variant. Errors are top-1 / top-5 on the validation set; during training they are measured on a
single crop:
    paper       the paper's text, taken literally, with two groups: 40.7 / 18.2 % with ten crops (table 2).
    original    the network and recipe that its authors ran for table 2, #145 of their program: 40.664 / 18.210 %
                with ten crops.
    one_gpu     original with half the feature maps in conv1 to conv4, no groups: 1.7 / 1.2 worse on the test set of ILSVRC-2010
                (section 3.2; layer-params-145-half.cfg).
    ungrouped   paper with the feature maps of two groups, but every layer sees all maps. No published number.
    owt         the one-GPU network of "One weird trick" (Krizhevsky 2014) with the recipe of cuda-convnet2's
                layers-imagenet-1gpu: 42.548 / 19.810 %, and 40.420 / 18.150 % with ten crops (TrainingExample.md of its
                wiki, commit 1bf8229). The rate is multiplied by 250^(-1/3) after each quarter of 90 epochs. The rest is as in
                original (convdata.py, lines 104, 181 to 183 and 192).
    caffe       BVLC AlexNet: 227 pixels, batch 256, initial biases of 0.1, 450,000 iterations. The rate is divided by
                10 every 100,000 iterations. No colour noise; biases have twice the rate and no decay. 42.9 / 19.8 %
                with a single crop after 360,000 iterations (its readme).

From the paper: batch 128; momentum 0.9 with the rate inside the velocity; decay 5e-4. The rate is 0.01 for all layers and was
adjusted by hand: "divide the learning rate by 10 when the validation error rate stopped improving with the current learning
rate", which happened three times in roughly 90 epochs. The patience is unspecified: here 5 tests, one per epoch.
Images are resized to a shorter side of 256, cropped to the central square, and the mean image is subtracted.
Augmentation is crops of 224, horizontal flips, and colour noise along the principal components with standard deviation
0.1. Initial weights are N(0, 0.01^2); initial biases are 1 in conv2, conv4, conv5, fc6 and fc7.

From the program (computerhistory/AlexNet-Source-Code, commit 2f8b81f), for original:
    layers/layers-145.cfg          the network and its initial weights, 0.03 in conv3 to conv5 (convnets/models/alexnet.py)
    layers/layer-params-145.cfg    momentum and decay; lines 169 to 182: a tenth of the rate from the epochs 25, 51 and 79 on,
                                   91 epochs, the errors. Biases have twice the rate of weights.
    src/layer.cu, line 565         biases do not decay, so they do not in paper either
    convdata_jpeg.py               lines 95 and 210: of each crop the central patch of the mean image is subtracted, wherever the
                                   crop was taken. Lines 65 and 177 to 179: colour noise by the deviations of the colours, where
                                   the text has their variances; then the image is divided by 1.1. The deviations are known by
                                   their name only (color_stdevs, convdata.py, line 41): the data are not in the program.
    convnet.py, line 177           batch 128

Deviations. In original the bias rate follows the weight rate; the program kept it at 0.02. At epoch 67 it divided the rate of
conv1 by 10 and stopped the colour noise; at epoch 72 it froze conv1. It crops and mirrors 32 images in a row alike
(convdata_jpeg.py, lines 77 and 238 to 246); here each has its own crop. The rates of #145-half and of the controls were lowered
at other epochs; one_gpu and alexnet_controls.py have the schedule of original.
In owt the bias rate follows the weight rate, while the original file divides it by 10 once, after half the epochs. Its network
differs from paper and file (convnets/models/alexnet.py). Its images are resized bilinearly, where cuda-convnet2 shrinks them
by area. Caffe squeezed the images to 256 x 256, which keeps the edges; here the central square is used.
"""

from configs import base

SQUARE = "decode|resize_center_crop(256)|subtract_mean"
ITERATION = 256 / base.IMAGENET_TRAIN  # one iteration of the caffe variant, in epochs


def get_config(variant: str = "paper"):
    name, change = base.pick(VARIANTS, variant)
    config = base.imagenet(name, f"{SQUARE}|crop(224)|flip|lighting(0.1)", f"{SQUARE}|center(224)")
    config.optim.update(
        lr=0.01, schedule="plateau(0.1, 5, 3)", momentum=0.9, weight_decay=5e-4, decay_multipliers="*/kernel"
    )
    config.train.update(epochs=90.0, batch_size=128)
    change(config)
    return config


def paper(config):
    pass


def program(config):
    """Sets what the author's programs of 2012 and 2014 have in common."""
    square, patch = "decode|resize_center_crop(256)", "subtract_mean('center')"
    config.data.train_ops = f"{square}|crop(224)|flip|{patch}|lighting(0.1, 'deviation')"
    config.data.test_ops = f"{square}|center(224)|{patch}"
    config.optim.lr_multipliers = "*, */bias=2"


def original(config):
    program(config)
    config.model.update(order="original", lrn="cuda_convnet2", init_weights="original")
    config.optim.schedule = "steps(0.1, 25, 51, 79)"
    config.train.epochs = 91.0


def owt(config):
    program(config)
    config.optim.schedule = f"exponential({250 ** (-1 / 3)}, 22.5)"


def caffe(config):
    config.model.update(view="227", lrn="caffe", init_weights="caffe")
    config.data.update(train_ops=f"{SQUARE}|crop(227)|flip", test_ops=f"{SQUARE}|center(227)")
    config.optim.update(schedule=f"exponential(0.1, {100_000 * ITERATION})", lr_multipliers="*, */bias=2")
    config.train.update(epochs=450_000 * ITERATION, batch_size=256)


VARIANTS = {
    "paper": ("alexnet", paper),
    "original": ("alexnet", original),
    "one_gpu": ("alexnet_one_gpu", original),
    "ungrouped": ("alexnet_ungrouped", paper),
    "owt": ("alexnet_owt", owt),
    "caffe": ("alexnet", caffe),
}

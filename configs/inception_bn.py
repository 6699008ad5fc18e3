"""BN-Inception on ILSVRC-2012: Ioffe, Szegedy 2015, section 4.2.

    python run.py --config=configs/inception_bn.py:x30 --config.data.data_dir=DIR --workdir=runs/bn-x30
    python run.py --mode=evaluate --workdir=runs/bn-x30 --config.evaluate.protocol=crops_144

The argument selects the row of figure 3; errors are top-1 on the validation set with a single crop. They are the lowest of
a run, 100 less the "maximum accuracy", while `test_error` here is that after the last step:
    inception   without batch normalization, rate 0.0015: 27.8 %, reached after 31.0 million steps.
    baseline    inception with batch normalization: 27.3 %; 27.8 % after 13.3 million steps.
    x5          rate 0.0075 and the other changes: 27.0 %; 27.8 % after 2.1 million steps.
    x30         rate 0.045: 25.2 / 7.82 % top-1 / top-5 after 6 million steps; 27.8 % after 2.7 million steps. With 144
                crops 21.99 / 5.82 % (figure 4).
    x5_sigmoid  x5 with sigmoids: 30.2 %

From the paper: batch 32, momentum; inception and baseline have dropout 0.4 and local response normalization. The other
changes of x5 and x30 (section 4.2.1): no dropout, no LRN, a fifth of the decay, a rate that falls six times as fast,
weaker photometric distortions, and shuffling within the shards of the training data, worth about 1 %. Here the examples of all
networks, also of inception and baseline, are fully reshuffled in each epoch.

Train on one device. Batch normalization takes the statistics of the images on a device; on eight devices a mini-batch of 32
would be normalized in groups of four. Nothing warns of this. On D devices, `--config.train.batch_size=32*D` keeps groups of
32, but then a step is a mean over D of the paper's mini-batches.

Unspecified: momentum 0.9, decay 2e-4, the rate and decay of biases, and the fall of the rate (0.96 every 8 epochs) are as in
configs/googlenet.py. A fifth of 2e-4 is the decay of the authors' later program (tensorflow/models, research/slim/nets,
inception_utils.py: 0.00004). From there too: the weight 0.9997 of the running statistics, and epsilon 0.001. Its running
statistics follow algorithm 2 only about, and forget their first values after some 10,000 steps. Rates of biases are doubled,
as in Caffe, but not those of the shifts of batch normalization; nor does the public Caffe rebuild double these
(lim0606/caffe-googlenet-bn d19caf5, train_val.prototxt). The length of all runs but x30: here 31 million steps for inception
and baseline, 6 million for the others, after which their rates are at 2 and 1 %. How much weaker the distortions are: here
half. There is no average of the parameters, which configs/googlenet.py has. The paper trained on many machines at once.
"""

from configs import base

EPOCHS = 32 / base.IMAGENET_TRAIN  # one step, in epochs
STATISTICS = {"momentum": 0.9997, "epsilon": 0.001}
FASTER = {"schedule": f"exponential(0.96, {8 / 6})", "weight_decay": 2e-4 / 5}


def get_config(variant: str = "x30"):
    lr, faster, model = base.pick(VARIANTS, variant)
    jitter = "color_jitter(0.25, 0.25, 0.25)" if faster else "color_jitter"
    config = base.imagenet(
        "bn_inception",
        f"decode|inception_crop(224)|flip|{jitter}|subtract_mean('colour')",
        "decode|resize_short(256)|center(224)|subtract_mean('colour')",
    )
    config.model.update(model if "norm" in model else {**STATISTICS, **model})
    config.optim.update(lr=lr, schedule="exponential(0.96, 8)", momentum=0.9, weight_decay=2e-4, decay_multipliers="*/kernel",
                        lr_multipliers="*, *[!n]/bias=2")  # fmt: skip  # [!n]: not the shifts, which are of layers *_bn
    config.optim.update(FASTER if faster else {})
    config.train.update(epochs=(6_000_000 if faster else 31_000_000) * EPOCHS, batch_size=32)
    return config


OLD = {"lrn": True, "dropout": 0.4}
VARIANTS = {
    "inception": (0.0015, False, {**OLD, "norm": False}),
    "baseline": (0.0015, False, OLD),
    "x5": (0.0075, True, {}),
    "x30": (0.045, True, {}),
    "x5_sigmoid": (0.0075, True, {"activation": "sigmoid"}),
}

"""AlexNet with one component removed: the controls of sections 3 and 4 of Krizhevsky et al. 2012.

    python run.py --config=configs/alexnet_controls.py:no_lrn --config.data.data_dir=DIR --workdir=runs/alexnet-no-lrn

The argument selects the component that is removed; everything else is configs/alexnet.py:paper. The numbers are the
increase of the top-1 / top-5 error; the paper does not say on which year's ILSVRC; most of its experiments use ILSVRC-2010.
    no_lrn      local response normalization (section 3.3): 1.4 / 1.2.
    pool2       overlapping pooling; windows of 2 instead of 3 (section 3.4): 0.4 / 0.3.
    no_colours  colour noise along the principal components (section 4.1): over 1 top-1.
    no_dropout  dropout (section 4.2): "substantial overfitting", no number.
"""

from configs import alexnet, base


def get_config(variant: str = "no_lrn"):
    config = alexnet.get_config("paper")
    options, removed = base.pick(VARIANTS, variant)
    config.model.update(options)
    config.data.train_ops = config.data.train_ops.replace(removed, "")
    return config


# Options of the network, and what is removed from the operations of training.
VARIANTS = {
    "no_lrn": ({"lrn": "none"}, ""),
    "pool2": ({"pool_size": 2}, ""),
    "no_colours": ({}, "|lighting(0.1)"),
    "no_dropout": ({"dropout": 0.0}, ""),
}

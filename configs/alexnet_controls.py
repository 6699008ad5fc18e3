"""AlexNet with one thing less: the controls of sections 3 and 4 of Krizhevsky et al. 2012.

    python run.py --config=configs/alexnet_controls.py:no_lrn --config.data.data_dir=DIR --workdir=runs/alexnet-no-lrn

The argument picks what is missing; the numbers are those by which it is worse on ILSVRC-2010, top-1 / top-5. All else is
configs/alexnet.py:paper.
    no_lrn      local response normalization (section 3.3): 1.4 / 1.2.
    pool2       the overlap of the poolings, windows of 2 in place of 3 (section 3.4): 0.4 / 0.3.
    no_colours  the noise along the colours' principal components (section 4.1): over 1 top-1.
    no_dropout  dropout (section 4.2): "substantial overfitting", no number.
"""

from configs import alexnet, base


def get_config(variant: str = "no_lrn"):
    config = alexnet.get_config("paper")
    model, train_ops = base.pick(VARIANTS, variant)
    config.model.update(model)
    config.data.train_ops = train_ops(config.data.train_ops)
    return config


def same(ops: str) -> str:
    return ops


VARIANTS = {
    "no_lrn": ({"lrn": "none"}, same),
    "pool2": ({"pool_size": 2}, same),
    "no_colours": ({}, lambda ops: ops.replace("|lighting(0.1)", "")),
    "no_dropout": ({"dropout": 0.0}, same),
}

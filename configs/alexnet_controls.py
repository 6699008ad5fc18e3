"""AlexNet with one component removed: the controls of sections 3 and 4 of Krizhevsky et al. 2012.

    python run.py --config=configs/alexnet_controls.py:no_lrn --config.data.data_dir=DIR --workdir=runs/alexnet-no-lrn

The argument selects the component that is removed; everything else is configs/alexnet.py:original, with which the authors
compared. The numbers are the increase of the top-1 / top-5 error. The files are theirs
(computerhistory/AlexNet-Source-Code, commit 2f8b81f, layers/); their errors are of ten views on the validation set of ILSVRC-2012.
    no_lrn      local response normalization (section 3.3): 1.4 / 1.2; 42.034 / 19.362 % (layer-params-148.cfg, lines 137 to
                148). All three normalizations are removed.
    pool2       overlapping pooling; windows of 2 instead of 3 (section 3.4): 0.4 / 0.3; 41.058 / 18.510 %
                (layer-params-147.cfg, lines 165 to 174).
    no_colours  colour noise along the principal components (section 4.1): over 1 top-1. The program does not say on which set.
    no_dropout  dropout (section 4.2): "substantial overfitting", no number.

Deviation: in layers-147.cfg, conv1 has 55 x 55 pixels, the next layers 28, 26, 13, 11 and 6. Its pooling rounds up, conv2
has a padding of 1 and conv5 none. In pool2 the sizes are 55, 27, 27, 13, 13 and 6: its pooling rounds down.
"""

from configs import alexnet, base


def get_config(variant: str = "no_lrn"):
    config = alexnet.get_config("original")
    options, removed = base.pick(VARIANTS, variant)
    config.model.update(options)
    config.data.train_ops = config.data.train_ops.replace(removed, "")
    return config


# Options of the network, and what is removed from the operations of training.
VARIANTS = {
    "no_lrn": ({"lrn": "none"}, ""),
    "pool2": ({"pool_size": 2}, ""),
    "no_colours": ({}, "|lighting(0.1, 'deviation')"),
    "no_dropout": ({"dropout": 0.0}, ""),
}

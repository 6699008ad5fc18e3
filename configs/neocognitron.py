"""The neocognitron on Fukushima's digits, and its cells as features for MNIST.

    python run.py --config=configs/neocognitron.py:digits --workdir=runs/neocognitron

The argument selects the variant:
    digits      digits 0 to 4, each shown 20 times at varying positions, one image at a time; tested at all shifts by up
                to 2. The paper gives no error rate: each digit excites one cell of UC3, and this cell no other digit,
                wherever it stands (section 5 and figure 6).
    mnist       unsupervised learning on 2,000 digits of MNIST at 16 x 16, while a linear read-out of UC3 is trained.
                Our own.

From the paper: the network, the learning speeds q (here the learning rates of US1, US2 and US3: 1, 16 and 16), 20
presentations, one image per step. A larger batch (lr_batch=1) adds up the updates of its images.

Unspecified: the order of the images (here reshuffled every epoch); the positions (here all shifts by up to 2 cells,
with equal probability); the choices for the network in convnets/models/neocognitron.py. The read-out, its loss and its
learning rate (0.5) are our own. We chose the decay rates of c, the initial a and the size of the digits by whether the digits
are told apart. Those trials used other seeds than the reported results.

Left out: the paper also lets the network organize itself on X, Y, T and Z, and on all digits from 0 to 9 (section 5, from
memory).
"""

from configs import base


def get_config(variant: str = "digits"):
    config = base.get_config()
    config.model.update(name="neocognitron", num_classes=5, read="winner")
    config.optim.update(lr=1.0, lr_batch=1, momentum=0.0, lr_multipliers="US1/*, US2/*=16, US3/*=16, readout/*=0.5")
    config.train.update(epochs=20.0, batch_size=1, eval_every_epochs=0.0)  # a test takes longer than an epoch
    base.pick(VARIANTS, variant)(config)
    return config


def digits(config):
    config.data.update(name="stimuli", train_ops="decode|pad_crop(2)|value_range(0.0, 1.0)")
    config.data.test_ops = "decode|value_range(0.0, 1.0)"


def mnist(config):
    config.model.update(num_classes=10, read="UC3")
    config.optim.lr_multipliers = "US1/*, US2/*=16, US3/*=16, readout/*=0.02"
    config.data.update(name="mnist", train_split="train[:2000]")
    config.data.train_ops = config.data.test_ops = "decode|resize(16)|value_range(0.0, 1.0)"
    config.train.epochs = 2.0


VARIANTS = {"digits": digits, "mnist": mnist}

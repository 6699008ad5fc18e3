"""The neocognitron on Fukushima's digits, and what its cells are good for on MNIST.

    python run.py --config=configs/neocognitron.py:digits --workdir=runs/neocognitron

The argument picks the variant:
    digits      0 to 4, each shown 20 times at changing places, one image after the other; tested at all shifts by up to 2.
                The paper has no error: each cell of UC3 answers to one digit, wherever it stands (its figures 6 and 7).
    mnist       self-organised on 2,000 digits of MNIST at 16 x 16, while a linear read-out of UC3 is trained. Ours.

Of the paper: the network, the speeds q of reinforcement (here the rates of US1, US2 and US3, 1, 16 and 16), 20
presentations, one image a step. A larger batch (lr_batch=1) adds up what each of its images would reinforce.

Unspecified: the order (a random one every time), the places (all shifts by up to 2 cells with the same probability); of the
network what models/neocognitron.py lists. The read-out, its loss and rate are ours. Fadings of c, initial a and
the size of the digits were chosen among some by whether they are told apart, with other seeds than those of the results.
"""

from configs import base


def get_config(variant: str = "digits"):
    config = base.get_config()
    config.model.update(name="neocognitron", num_classes=5, read="winner")
    config.optim.update(lr=1.0, lr_batch=1, momentum=0.0, rates="US1/*, US2/*=16, US3/*=16, readout/*=0.5")
    config.train.update(epochs=20.0, batch_size=1, eval_every_epochs=0.0)  # a test takes longer than an epoch
    base.pick(VARIANTS, variant)(config)
    return config


def digits(config):
    config.data.update(name="stimuli", train_ops="decode|pad_crop(2)|value_range(0.0, 1.0)")
    config.data.test_ops = "decode|value_range(0.0, 1.0)"


def mnist(config):
    config.model.update(num_classes=10, read="UC3")
    config.optim.rates = "US1/*, US2/*=16, US3/*=16, readout/*=0.02"
    config.data.update(name="mnist", train_split="train[:2000]")
    config.data.train_ops = config.data.test_ops = "decode|resize(16)|value_range(0.0, 1.0)"
    config.train.epochs = 2.0


VARIANTS = {"digits": digits, "mnist": mnist}

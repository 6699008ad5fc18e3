"""Local response normalization on and off, on CIFAR-10. experiments/lighting.py has it on digits."""

from convnets.sweep import Claim, Experiment, Row, Scale

EXPERIMENT = Experiment(
    "Local response normalization", "test_error",
    full=Scale(
        rows=[
            Row("three stages, without (19pct)", "configs/cuda_convnet.py:19pct", 19.0, "layers-19pct.cfg",
                cost="8 min, 1 x H100"),
            Row("three stages, within maps (18pct)", "configs/cuda_convnet.py:18pct", 18.0, "cuda-convnet's front page",
                cost="8 min, 1 x H100"),
            Row("13pct, without", "configs/ablation.py:13pct", cost="5 min, 1 x H100"),
            Row("13pct, across maps", "configs/ablation.py:13pct", overrides=("--config.model.lrn=across",),
                cost="5 min, 1 x H100"),
            Row("13pct with batch norm, without", "configs/ablation.py:13pct",
                overrides=("--config.model.batch_norm=True",), cost="5 min, 1 x H100"),
            Row("13pct with batch norm, across maps", "configs/ablation.py:13pct",
                overrides=("--config.model.lrn=across", "--config.model.batch_norm=True"), cost="5 min, 1 x H100"),
        ],
        claims=[
            Claim("normalization within maps lowers the error of the three-stage network", "cuda-convnet's layers-19pct.cfg, -18pct.cfg", size=1.0,
                  note="the decay of fc10 differs, too", better="three stages, within maps (18pct)", worse="three stages, without (19pct)"),
            Claim("normalization across maps lowers the error by two points", "Krizhevsky et al. 2012, section 3.3", size=2.0,
                  elsewhere="160 and 520 epochs, ten views", better="13pct, across maps", worse="13pct, without",
                  note="the last files of the two nets also differ in the width of local3 and the decay of fc10; these two do not"),
            Claim("local response normalization does nothing in a network with batch normalization", "Ioffe & Szegedy 2015, section 4.2.1", within=0.5,
                  better="13pct with batch norm, across maps", worse="13pct with batch norm, without"),
        ],
    ),
)  # fmt: skip

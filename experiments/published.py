"""Published weights of ResNets for CIFAR-10, tested by this program: He et al. 2015, section 4.2.

    python -m experiments.published              tests the files that are there and records the errors
    make test-published                          tests them, and the networks of experiments/weights; records nothing

The files are published in akamaster's pytorch_resnet_cifar10, with the test errors of PUBLISHED. The files are
looked for in weights/akamaster of the folder CONVNETS_SHARED (default ../shared), CIFAR-10 in its folder tfds, or else in
TFDS's default folder. Images are RGB / 255, minus the mean (.485, .456, .406), divided by the deviation (.229, .224, .225);
shortcuts have option A.

`python run.py --mode=report` writes the recorded errors into RESULTS.md.
"""

import os
import shlex
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from convnets.report import demonstrations, results
from convnets.training import network

SHARED = Path(os.environ.get("CONVNETS_SHARED", results.ROOT / ".." / "shared"))
TEST_OPS = "decode|standardize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))"  # 255 times the numbers above
PUBLISHED = {"20": ("resnet20-12fca82f.th", 8.27), "32": ("resnet32-d509ac18.th", 7.37),
             "44": ("resnet44-014dd654.th", 6.90), "56": ("resnet56-4bfd9763.th", 6.61)}  # fmt: skip


def path(variant: str) -> Path:
    """Returns where the file of a variant of configs/resnet_cifar.py is looked for."""
    return SHARED / "weights" / "akamaster" / PUBLISHED[variant][0]


def config_of(variant: str, *overrides: str) -> ConfigDict:
    """Returns the config of a variant, with the images that the file of its weights expects, and with overrides."""
    data = str(SHARED / "tfds") if (SHARED / "tfds" / "cifar10").exists() else ""
    given = [f"--config.data.test_ops={TEST_OPS}", *overrides]
    return demonstrations.open_config(f"configs/resnet_cifar.py:{variant}", given, 0, data)


def test_weights(variant: str) -> dict[str, Any]:
    """Tests the file of a variant on CIFAR-10's 10,000 test images; returns the content of a result.json.

    Raises:
        CheckpointError: the file does not fit.
        DataError: CIFAR-10 is not there.
    """
    return network.test_run(config_of(variant), results.ROOT, str(path(variant)))[0]


def entry(variant: str, result: dict[str, Any]) -> dict[str, Any]:
    """Returns one entry of results.jsonl."""
    file, error = PUBLISHED[variant]
    device = jax.devices()[0]
    words = ["--mode=evaluate", f"--config=configs/resnet_cifar.py:{variant}", f"--weights={file}",
             f"--config.data.test_ops={TEST_OPS}"]  # fmt: skip
    return {
        "config": "experiments/published.py", "overrides": [result["config"]["model"]["name"]],
        "command": f"python run.py {shlex.join(words)}", "published": {"file": file, "error": error},
        **{k: v for k, v in result.items() if k not in ("config", "seed", "steps", "images_per_second")},
        "device": {"kind": device.device_kind, "count": 1},
    }  # fmt: skip


def main() -> None:
    entries = []
    for variant, (file, error) in PUBLISHED.items():
        if not path(variant).exists():
            print(f"{file}: not there; CONVNETS_SHARED names the folder that holds weights/akamaster")
            continue
        result = test_weights(variant)
        entries.append(entry(variant, result))
        print(f"{file}: published {error:.2f} %, ours {result['top1_error']:.2f} %", flush=True)
    demonstrations.keep(entries)


if __name__ == "__main__":
    demonstrations.run(main)

"""The doctor says what is broken where packages, data or the cache are missing or damaged, and never fails itself."""

import subprocess
import sys

import pytest

from convnets.modes import doctor
from convnets.runtime import import_probe
from tests.conftest import ROOT


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Returns a folder whose modules precede the installed ones in the processes that the doctor starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "jax.py").write_text(
        "print('noise')\nclass Device:\n    platform, device_kind = 'cpu', 'cpu [red]'\ndevices = lambda: [Device] * 2\n"
    )
    return tmp_path


def test_packages_that_fail_hang_or_end_python_are_named(modules, monkeypatch):
    monkeypatch.setattr(import_probe, "PATIENCE", 4)
    (modules / "fails.py").write_text("raise OSError('lib\\nc.so is missing')")
    (modules / "ends.py").write_text("import os; os._exit(7)")
    (modules / "hangs.py").write_text("import time; time.sleep(60)")
    failures, devices = import_probe.try_imports([["jax", "fails", "json"], ["ends", "json"], ["hangs"]], ROOT)
    assert devices == [["cpu", "cpu [red]"]] * 2
    assert failures == ["import fails: OSError: lib c.so is missing", "import ends: ends Python with code 7",
                             "import hangs: no answer within 4 s"]  # fmt: skip


def test_where_all_is_missing_or_damaged_every_section_says_so_on_one_screen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(import_probe, "try_imports", lambda groups, folder: ([], []))
    monkeypatch.setattr(doctor, "_version", lambda name: {"jax": "0.10.2", "numpy": "1.0"}.get(name))
    monkeypatch.setattr(doctor.environment, "processor_flags", lambda: ["sse"])
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: 1 / 0)
    monkeypatch.setenv("CONVNETS_CACHE", "/dev/null/cache")
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text("{")
    assert doctor.examine([f"--config.data.data_dir={tmp_path}"]) == 1
    out = capsys.readouterr().out
    words = " ".join(out.split())
    for text in ("flax is not installed: pip install -e .", "numpy>=2.1 is wanted, 1.0 is installed", "none: JAX does not start",
                 "jax 0.10.2 trains slower", "no AVX-512", "mnist 3.0.1", "dataset_info.json is damaged",
                 "not prepared: cifar10, imagenet2012", "cache cannot be looked at: ZeroDivisionError"):  # fmt: skip
        assert text in words, out
    assert out.count("\n") < 50 and max(map(len, out.splitlines())) <= 100


def test_what_is_missing_or_cannot_be_written_is_advice(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNETS_CACHE", "/dev/null/cache")
    report = doctor.Report()
    doctor.look_at_cache(report)
    doctor.look_at_data(report, str(tmp_path / "none"))
    assert "cannot be written" in report.advice[0] and "there is no folder" in report.advice[1]
    assert report.facts[1] == ("data", f"{tmp_path / 'none'}: no data sets")


@pytest.mark.parametrize(
    "mode, wanted", [("doctor", "is not installed into this Python: make run"), ("train", "--mode=doctor")]
)
def test_it_works_without_any_package(mode, wanted):
    done = subprocess.run([sys.executable, "-S", "run.py", f"--mode={mode}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and wanted in done.stdout + done.stderr and "Traceback" not in done.stderr, done

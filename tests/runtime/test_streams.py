"""Standard output that is closed, full, or has another encoding; in processes of their own."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CODE = """if True:
    import os, sys
    from rich.console import Console
    from convnets.runtime import streams
    streams.open_streams()
    file = open(sys.argv[1], "w")
    assert file.fileno() > 2
    for text in ("plain", "caf\\u00e9 \\u250f", "not UTF-8: \\udce9", "x" * 100_000):
        print(text, flush=True)
    print("said", file=sys.stderr)
    sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.flush()
    assert not Console().is_terminal  # no bars, although Jupyter sets FORCE_COLOR
    file.write("done")
"""


@pytest.mark.parametrize("encoding", ["", "ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("where", ["", ">&-", "2>&-", ">&- 2>&- <&-", "> /dev/full", "> /dev/full 2> /dev/full"])
def test_a_program_goes_on_whatever_its_output_is(where, encoding, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "FORCE_COLOR": "1"}
    command = f'"{sys.executable}" -c "$CODE" "{tmp_path / "file"}" {where}'
    done = subprocess.run(command, shell=True, cwd=ROOT, env={**environment, "CODE": CODE}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "done"
    assert where or (done.stdout.startswith(b"plain\ncaf") and b"not UTF-8: \\udce9" in done.stdout)
    lost = b"note: output is lost: No space left on device; the program goes on\n"
    assert done.stderr == (b"" if "2>" in where else lost * ("full" in where) + b"said\n")


def test_a_reader_that_has_seen_enough_ends_the_program():
    code = "from convnets.runtime import streams; streams.open_streams()\nwhile True: print('y' * 1000)"
    command = f'"{sys.executable}" -c "{code}" | head -1'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode in (1, 120) and b"BrokenPipeError" in done.stderr

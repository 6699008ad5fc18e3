"""Paths of the user, and JSON files that a power cut has damaged."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convnets.errors import CheckpointError, UsageError
from convnets.runtime import files


@pytest.mark.parametrize(
    "name", ["a", "a:b", "gs:", "50%", "a#b", "a[1]", "ü", "caf\udce9", "a,b", "~a", "x\ny", "a://"[:2]]
)
def test_a_path_is_a_string_of_bytes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.local_path(f"in/{name}") == tmp_path / "in" / name
    assert files.local_path(tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("scheme", ["gs", "s3", "file", "hdfs", "https", "FILE", "git+ssh"])
def test_a_url_is_no_path(scheme):
    with pytest.raises(UsageError, match=f"^{re.escape(scheme)}://bucket/run is a URL: give a path on this machine"):
        files.local_path(f"{scheme}://bucket/run")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.local_path("~") == tmp_path and files.local_path("~/a/b") == tmp_path / "a" / "b"
    with pytest.raises(UsageError, match="there is no such home folder"):
        files.local_path("~nobody-has-this-name/a")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe\x00", bytes(100), b"[]", b"null", b'"x"', b"12"])
def test_a_damaged_json_file_is_one_line(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as e:
        files.read_json(path)
    assert str(e.value).startswith(f"{path} is damaged: ") and "; remove it, and" in str(e.value)
    assert "\n" not in str(e.value) and (content or "it is empty" in str(e.value))


def test_a_folder_in_place_of_a_file_is_one_line_and_a_missing_file_is_the_callers(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        files.read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "none")
    assert files.read_json(tmp_path / "none", {}) == {}


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xfe", bytes(512), b'{"step": 5, "lo', b"12\n", b"[3]\n", b"{}\n", b"\r\n\n"]
)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_lines_that_are_intact_are_read(damage, at, tmp_path):
    lines = [{"step": n, "loss": 1 / n} for n in range(1, 5)]
    parts = [json.dumps(line).encode() + b"\n" for line in lines]
    parts.insert(at, damage + b"\n" * (at < 4))
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(parts))
    assert files.read_lines(tmp_path / "metrics.jsonl") == lines


def test_what_is_written_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A power cut after the renaming would otherwise leave a file of 0 bytes."""
    order = []
    sync, replace, rename = os.fsync, Path.replace, Path.rename
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda *a: (order.append("name"), replace(*a))[1])
    monkeypatch.setattr(Path, "rename", lambda *a: (order.append("name"), rename(*a))[1])
    files.write_json(tmp_path / "a.json", {})
    with files.atomic_path(tmp_path / "b") as scratch:
        scratch.write_text("b")
    assert order == ["sync", "name", "sync", "name"] and sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b"]


def test_two_processes_that_write_the_same_file_do_not_mix(tmp_path, monkeypatch):
    with files.replacing(tmp_path / "a") as first:
        first.write(b"first")
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with files.replacing(tmp_path / "a") as second:
            second.write(b"2")
        monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"first"
    with pytest.raises(ValueError, match="stop"), files.replacing(tmp_path / "a"):
        raise ValueError("stop")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "result.json").write_text("old")
    (tmp_path / "result.json").symlink_to("far/result.json")
    files.write_json(tmp_path / "result.json", {"new": 1})
    assert (tmp_path / "result.json").is_symlink() and files.read_json(tmp_path / "far" / "result.json") == {"new": 1}


def test_a_folder_that_was_removed_is_one_line(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"gone/run/a\.json could not be written: No such file or directory; [\d,]+ bytes"
    ):
        files.write_json(tmp_path / "gone" / "run" / "a.json", {})


def test_what_a_killed_process_left_is_removed_but_not_what_another_writes(tmp_path):
    program = "import sys, os, pathlib; from convnets.runtime import files\n" \
              "with files.atomic_path(pathlib.Path(sys.argv[1])) as scratch: scratch.write_bytes(bytes(1000)); os._exit(9)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "cache"], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    with files.atomic_path(tmp_path / "cache") as first, files.atomic_path(tmp_path / "cache") as second:
        assert first != second and len(list(tmp_path.iterdir())) == 2
        first.write_text("first")
        second.write_text("second")
    assert [p.name for p in tmp_path.iterdir()] == ["cache"] and (tmp_path / "cache").read_text() == "first"


def test_a_renaming_that_fails_is_not_silent(tmp_path, monkeypatch):
    def refuses(self, target):
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(PermissionError), files.atomic_path(tmp_path / "a") as scratch:
        scratch.write_text("a")
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_of_folders_is_written_to(tmp_path, monkeypatch):
    """As NFS; what others left there stays, since nobody can tell who writes."""

    def refuses(*_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(files.fcntl, "flock", refuses)
    with files.atomic_path(tmp_path / "a") as scratch:
        os.utime(scratch.parent, (0, 0))
        with files.atomic_path(tmp_path / "a") as other:
            other.write_text("other")
        assert scratch.parent.exists()
        scratch.write_text("a")
    assert (tmp_path / "a").read_text() == "a"


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}

"""The manifest of a run: where it comes from, and what would change its rounding."""

import subprocess

from convnets.runtime import provenance


def test_the_manifest_tells_where_a_run_comes_from():
    facts = provenance.manifest(device="x")
    assert facts["device"] == "x" and facts["command"].startswith("python ")
    assert {"jax", "flax", "orbax-checkpoint", "python"} <= set(facts["versions"])
    assert facts["commit"] == "unknown" or len(facts["commit"].removesuffix("+changes")) == 40


def test_what_changes_the_rounding_of_a_run_is_said():
    """A run that is resumed elsewhere; what the first manifest does not say is no difference."""
    cpu = {"platform": "cpu", "kind": "cpu", "count": 1}
    before = {"versions": {"jax": "0.11.2", "flax": "1"}, "device": cpu, "cores": 2}
    assert provenance.list_environment_changes(before, before) == []
    now = before | {"versions": {"jax": "0.12.0"}, "cores": 1}
    expected = ["jax: 0.11.2, now 0.12.0", "flax: 1, now None", "cores: 2, now 1"]
    assert provenance.list_environment_changes(before, now) == expected
    assert provenance.list_environment_changes({k: before[k] for k in ("versions", "device")}, before) == []
    other = before | {"device": {"platform": "gpu", "kind": "H200", "count": 1}, "cores": 16}
    assert provenance.list_environment_changes(before, other) == ["devices: 1 x cpu, now 1 x H200"]


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("jax", "no-such-package"))
    assert set(provenance.versions()) == {"python", "jax"}


def test_a_line_that_is_recorded_is_no_change_of_the_code(tmp_path, monkeypatch):
    code, lines = tmp_path / "convnets" / "provenance.py", tmp_path / "benchmarks" / "results.jsonl"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for path in (code, lines):
        path.parent.mkdir()
        path.write_text("first\n")
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert provenance.commit() == "unknown"
    monkeypatch.setenv("CONVNETS_COMMIT", "of the copied tree")
    assert provenance.commit() == "of the copied tree"
    for command in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    lines.write_text("first\nsecond\n")
    (tmp_path / "benchmarks" / "mine.py").write_text("no part of a run\n")
    assert len(provenance.commit()) == 40
    untracked = code.with_name("mine.py")
    untracked.write_text("a network of its user\n")
    assert provenance.commit().endswith("+changes")
    untracked.unlink()
    assert len(provenance.commit()) == 40
    code.write_text("second\n")
    assert provenance.commit().endswith("+changes")

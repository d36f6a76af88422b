"""Products of builds: complete or absent, and built again only when an input changed."""

from pathlib import Path

import pytest

from sim.cache import cached, digest
from sim.verilator import BuildError, Model, build


def test_built_once(tmp_path):
    calls = []

    def make(directory: Path) -> None:
        calls.append(directory)
        (directory / "product").write_text("x")

    first = cached(tmp_path, "key", make)
    assert cached(tmp_path, "key", make) == first
    assert len(calls) == 1
    assert (first / "product").read_text() == "x"


def test_interrupted_build_leaves_nothing(tmp_path):
    def interrupted(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "key", interrupted)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    final = cached(tmp_path, "key", lambda directory: (directory / "whole").touch())
    assert [path.name for path in final.iterdir()] == ["whole"]


def test_what_a_killed_build_left_is_swept(tmp_path):
    (tmp_path / "key.left").mkdir()
    (tmp_path / "key.left" / "half").touch()
    (tmp_path / "other.left").mkdir()
    cached(tmp_path, "key", lambda directory: (directory / "whole").touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock", "other.left"]


def test_the_cache_is_the_users_whatever_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "home" / name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    found = cached(None, "key", lambda directory: (directory / "whole").touch())
    assert found == tmp_path / "home" / "codesign" / "builds" / "key"
    assert not any((tmp_path / "work").iterdir())


def test_digest_knows_where_parts_end():
    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_what_verilator_says_reaches_the_user(tmp_path):
    with pytest.raises(BuildError, match="syntax error"):
        build(Model("module broken (", "broken", (), shared=True), tmp_path)

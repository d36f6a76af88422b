from pathlib import Path

import pytest

from codesign import arch_file
from codesign.arch import preset


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_base_is_changed_and_the_file_gives_the_name(tmp_path: Path) -> None:
    arch = arch_file.load(write(tmp_path, "base: tiny\npixels: 5\n"))
    assert arch == preset("tiny").replace(pixels=5, name="mine")


def test_every_field_may_be_given(tmp_path: Path) -> None:
    tiny = preset("tiny")
    text = "\n".join(f"{key}: {value}" for key, value in tiny.to_dict().items())
    assert arch_file.load(write(tmp_path, text)) == tiny


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "must be a mapping"),
        ("a: b: c", "is not YAML"),
        ("base: tiny\npixel: 3", "unknown field 'pixel'; there are base, name, pixels, "),
        ("base: huge", "no preset is called 'huge'; there are aup_zu3, kv260,"),
        ("pixels: 3", "'in_channels' is missing; give every field without a default"),
        ("base: tiny\npixels: 4\ndrain: 3", "drain=3 does not divide pixels=4"),
    ],
)
def test_a_wrong_file_is_refused_with_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arch_file.load(write(tmp_path, text))


def test_a_wrong_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="pixels must be an integer, not 'three'"):
        arch_file.load(write(tmp_path, "base: tiny\npixels: three"))


def test_find_takes_presets_and_paths(tmp_path: Path) -> None:
    assert arch_file.find("tiny") == preset("tiny")
    assert arch_file.find(str(write(tmp_path, "base: tiny"))).name == "mine"
    with pytest.raises(ValueError, match=r"no file is called 'missing.yaml'; presets are"):
        arch_file.find("missing.yaml")
    with pytest.raises(ValueError, match="no preset is called 'missing'"):
        arch_file.find("missing")


@pytest.mark.parametrize("name", ["../../x", '"a\\nb"', "a b", "''", ".hidden", "-x"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"mine\.yaml: name .* becomes part of file names"):
        arch_file.load(write(tmp_path, f"base: tiny\nname: {name}"))


def test_every_refusal_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ValueError, match=r"mine\.yaml is not YAML"):
        arch_file.load(path)
    with pytest.raises(TypeError, match=r"mine\.yaml: pixels must be"):
        arch_file.load(write(tmp_path, "base: tiny\npixels: three"))
    with pytest.raises(ValueError, match=r"mine\.yaml: drain=3 does not divide"):
        arch_file.load(write(tmp_path, "base: tiny\npixels: 4\ndrain: 3"))
    with pytest.raises(TypeError, match=r"mine\.yaml: "):
        arch_file.load(write(tmp_path, "base: [tiny]"))

"""A YAML file that a person wrote is read, or told in one line what is wrong with it."""

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.yaml_files import read_yaml_file

_MANY = "[" + ",".join("x" * 1000) + "]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice"),
        ("a: {b: 1, b: 1}", "the key 'b' is there twice"),
        ("a: &a [*a]", "nested more than"),
        ("a: &a {b: *a}", "nested more than"),
        (
            f"a: &a {_MANY}\nb: &b [{','.join(['*a'] * 1000)}]\nc: [{','.join(['*b'] * 1000)}]",
            "more than 100000 values",
        ),
        ("[" * 20_000, "nested too deeply"),
        (f"a: 1{'0' * 5000}", "4300 digits"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: 1\n---\na: 2\n", "another document"),
        ("a: [", "line 1"),
    ],
    ids=lambda value: value[:30],
)
def test_what_no_reader_should_take_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_yaml_file(path, "the template")
    assert str(refused.value).startswith(f"{path}: not valid YAML (")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_aliases_and_merges_of_people_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n1: one\n")
    found = {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}, 1: "one"}
    assert read_yaml_file(path, "the template") == found
    path.write_text("")
    assert read_yaml_file(path, "the template") is None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the template cannot be read \(Is a directory\)"):
        read_yaml_file(tmp_path, "the template")

"""What several packages agree on is the same for each of them, and for the files that are not Python."""

import re
import sys
from importlib import import_module
from pkgutil import iter_modules

import yaml

import conventions
from conventions import config_keys, environments, exit_codes
from tests.checkout import SOURCE


def test_every_stack_has_its_file_and_every_key_of_it_is_known() -> None:
    files = {path.name.split(".")[1] for path in SOURCE.glob("Pulumi.*.yaml")}
    assert set(environments.STACKS) == files
    known = {value for value in vars(config_keys).values() if isinstance(value, str) and ":" in value}
    for stack in files:
        config = yaml.safe_load((SOURCE / f"Pulumi.{stack}.yaml").read_text())["config"]
        assert {key for key in config if key.startswith(f"{config_keys.PROJECT}:")} <= known
    assert yaml.safe_load((SOURCE / "Pulumi.yaml").read_text())["name"] == config_keys.PROJECT


def test_each_exit_code_means_one_thing() -> None:
    codes = [value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)]
    assert len(codes) == len(set(codes))
    assert all(0 <= code < 256 for code in codes)
    assert list(exit_codes.MEANINGS) == codes == list(exit_codes.NAMES)
    assert len(set(exit_codes.MEANINGS.values())) == len(codes)


def test_no_other_module_writes_a_name_of_conventions_out() -> None:
    variables = vars(import_module("conventions.variables"))
    names = [name for name in variables if name.isupper()]
    written = re.compile(rf"""["']({"|".join(names)})["']""")
    for package in ("components", "infra", "model_store", "serving", "stacks"):
        for file in (SOURCE / package).rglob("*.py"):
            assert not written.findall(file.read_text()), file


def test_conventions_import_the_standard_library_and_each_other_only() -> None:
    allowed = sys.stdlib_module_names | {"conventions"}
    for found in iter_modules(conventions.__path__, "conventions."):
        text = (SOURCE / f"{found.name.replace('.', '/')}.py").read_text()
        assert set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) <= allowed, found.name

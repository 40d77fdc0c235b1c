"""Bytecode is linked from one tree of packages into another one that has the same packages."""

import compileall
import os
import shutil
from pathlib import Path

from toolchain.environment import link_bytecode


def _packages(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text("VALUE = 1\n")
    return root


def test_bytecode_is_linked_where_the_package_is(tmp_path: Path) -> None:
    kept = _packages(tmp_path / "kept", "one", "two")
    assert compileall.compile_dir(kept, quiet=1)
    fresh = tmp_path / "fresh"
    shutil.copytree(kept / "one", fresh / "one", ignore=shutil.ignore_patterns("__pycache__"))
    link_bytecode(kept, fresh)
    (linked,) = fresh.rglob("*.pyc")
    (original,) = (kept / "one").rglob("*.pyc")
    assert linked.samefile(original)
    assert not (fresh / "two").exists(), "a package that is not there gets no directory"


def test_bytecode_of_another_source_is_replaced_and_the_kept_one_stays(tmp_path: Path) -> None:
    kept = _packages(tmp_path / "kept", "one")
    assert compileall.compile_dir(kept, quiet=1)
    before = next(kept.rglob("*.pyc")).read_bytes()
    fresh = _packages(tmp_path / "fresh", "one")
    (fresh / "one" / "__init__.py").write_text("VALUE = 22\n")
    os.utime(fresh / "one" / "__init__.py", (1, 1))
    link_bytecode(kept, fresh)
    assert compileall.compile_dir(fresh, quiet=1)
    assert next(fresh.rglob("*.pyc")).read_bytes() != before
    assert next(kept.rglob("*.pyc")).read_bytes() == before


def test_where_nothing_is_kept_nothing_is_linked(tmp_path: Path) -> None:
    link_bytecode(tmp_path / "none", _packages(tmp_path / "fresh", "one"))
    assert not list(tmp_path.rglob("*.pyc"))

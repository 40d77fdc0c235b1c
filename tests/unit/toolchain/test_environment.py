"""Bytecode is linked from one tree of packages into another one that has the same packages; uv is kept for the next."""

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checkout import SOURCE
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
    assert link_bytecode(kept, fresh), "nothing is left to compile"
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
    assert not link_bytecode(kept, fresh), "the compiler is needed"
    assert compileall.compile_dir(fresh, quiet=1)
    assert next(fresh.rglob("*.pyc")).read_bytes() != before
    assert next(kept.rglob("*.pyc")).read_bytes() == before


def test_where_nothing_is_kept_nothing_is_linked(tmp_path: Path) -> None:
    assert not link_bytecode(tmp_path / "none", _packages(tmp_path / "fresh", "one"))
    assert not list(tmp_path.rglob("*.pyc"))


def test_an_environment_is_filled_by_the_kept_uv_and_has_pip(tmp_path: Path) -> None:
    """The requirements are uv alone; this environment keeps its own for the fresh one, which has no installer."""
    checkout, python = tmp_path / "checkout", tmp_path / "fresh" / "bin" / "python"
    shutil.copytree(SOURCE / "toolchain", checkout / "toolchain", ignore=shutil.ignore_patterns("__pycache__", "go"))
    lines = (SOURCE / "requirements.txt").read_text().split("\n")
    begin = next(number for number, line in enumerate(lines) if line.startswith("uv=="))
    end = next(number for number in range(begin + 1, len(lines)) if not lines[number].startswith(" "))
    (checkout / "requirements.txt").write_text("\n".join(lines[begin:end]) + "\n")
    environment = {**os.environ, "FRAUD_DETECTION_CACHE": str(tmp_path / "cache")}

    def run(python: Path, call: str) -> str:
        code = f"from pathlib import Path; from toolchain import environment as e; {call}"
        command = [str(python), "-c", code, "requirements.txt"]
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stderr

    run(Path(sys.executable), "e._keep_uv(e._kept_uv(Path('requirements.txt')))")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "fresh")], check=True, timeout=60)
    told = run(python, "e._compile_bytecode = e._install_checkout = lambda *_: 0; raise SystemExit(e.main())")
    assert "installing the installer" not in told
    for program in ("pip", "uv"):
        subprocess.run([str(python), "-m", program, "--version"], check=True, capture_output=True, timeout=60)

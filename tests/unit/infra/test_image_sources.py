"""The tag of a built image names its sources."""

from pathlib import Path

from infra.image_sources import source_tag
from tests.checkout import SOURCE


def _checkout(root: Path) -> Path:
    for name in ("conventions/names.py", "model_store/store.py", "serving/app.py", "serving/requirements.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "Dockerfile").write_text("FROM scratch")
    return root


def test_the_same_files_have_the_same_tag_wherever_they_are(tmp_path: Path) -> None:
    one, other = _checkout(tmp_path / "one"), _checkout(tmp_path / "other")
    (other / "serving" / "__pycache__").mkdir()
    (other / "serving" / "__pycache__" / "app.pyc").write_bytes(b"compiled")
    (other / "docs").mkdir()
    (other / "docs" / "page.md").write_text("not in the image")
    assert source_tag(one, "amd64") == source_tag(other, "amd64")
    assert source_tag(one, "amd64").startswith("source-")


def test_a_change_of_any_file_of_the_image_is_another_tag(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    tags = {source_tag(checkout, "amd64")}
    for name in ("serving/app.py", "serving/requirements.txt", "conventions/names.py", "Dockerfile"):
        (checkout / name).write_text("changed")
        tags.add(source_tag(checkout, "amd64"))
    (checkout / "serving" / "app.py").rename(checkout / "serving" / "moved.py")
    tags.add(source_tag(checkout, "amd64"))
    tags.add(source_tag(checkout, "arm64"))
    assert len(tags) == 7


def test_everything_that_the_dockerfile_copies_is_in_the_tag(tmp_path: Path) -> None:
    copied = [
        source
        for line in (SOURCE / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from=" not in line
        for source in line.split()[1:-1]
    ]
    assert len(copied) >= 5
    tags = {source_tag(tmp_path, "amd64")}
    for number, source in enumerate(copied, 1):
        named = source.replace("[m]", "m")  # a pattern that may match nothing
        path = tmp_path / named / "added.py" if (SOURCE / named).is_dir() else tmp_path / named
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        tags.add(source_tag(tmp_path, "amd64"))
        assert len(tags) == number + 1, f"{source} is copied into the image, and its change is no other tag"

"""The tag of a built image names its sources."""

from pathlib import Path

from infra.image_sources import source_tag


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
    assert source_tag(one) == source_tag(other)
    assert source_tag(one).startswith("source-")


def test_a_change_of_any_file_of_the_image_is_another_tag(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    tags = {source_tag(checkout)}
    for name in ("serving/app.py", "serving/requirements.txt", "conventions/names.py", "Dockerfile"):
        (checkout / name).write_text("changed")
        tags.add(source_tag(checkout))
    (checkout / "serving" / "app.py").rename(checkout / "serving" / "moved.py")
    tags.add(source_tag(checkout))
    assert len(tags) == 6

"""The comment on a pull request: one, changed by each push."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.checkout import SOURCE

_PROGRAMS = SOURCE / "tests" / "workflows" / "programs"


def _comment(tmp_path: Path) -> str:
    environment = {
        "PATH": f"{_PROGRAMS}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
        "TEST_STATE": str(tmp_path),
        "TEST_ORIGIN": str(tmp_path),
        "GH_TOKEN": "of the job",
    }
    command = ["python3", str(SOURCE / "scripts" / "pull_request_comment.py"), "acme/fraud", "12", "previews"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_second_push_changes_the_comment_of_the_first(tmp_path: Path) -> None:
    previews = tmp_path / "previews"
    previews.mkdir()
    (previews / "preview-staging.md").write_text("### Preview of `staging`\n\nNo change.\n")
    (previews / "preview-production.md").write_text("### Preview of `production`\n\n1 changed; 7 unchanged.\n")
    assert _comment(tmp_path) == "the comment was written"
    (previews / "preview-staging.md").write_text("### Preview of `staging`\n\n2 changed; 5 unchanged.\n")
    assert _comment(tmp_path) == "the comment was changed"
    (comment,) = (tmp_path / "comments").iterdir()
    text = comment.read_text()
    assert text.index("`production`") < text.index("`staging`")
    assert "2 changed; 5 unchanged." in text


def test_a_comment_says_where_to_look_when_there_is_no_preview(tmp_path: Path) -> None:
    (tmp_path / "previews").mkdir()
    assert _comment(tmp_path) == "the comment was written"
    (comment,) = (tmp_path / "comments").iterdir()
    assert "No preview was made" in comment.read_text()


class _Notes(BaseHTTPRequestHandler):
    """Notes of a merge request, as GitLab keeps them."""

    def do_GET(self) -> None:
        kept = self.server.kept  # type: ignore[attr-defined]
        notes = [{"id": number, "body": body} for number, body in kept.items()] if "page=1" in self.path[-7:] else []
        self._answer(notes)

    def do_POST(self) -> None:
        kept = self.server.kept  # type: ignore[attr-defined]
        kept[len(kept) + 1] = self._body()
        self._answer({})

    def do_PUT(self) -> None:
        self.server.kept[int(self.path.rsplit("/", 1)[1])] = self._body()  # type: ignore[attr-defined]
        self._answer({})

    def _body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def _answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200 if self.headers["PRIVATE-TOKEN"] == "of the job" else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def test_a_merge_request_has_one_note(tmp_path: Path) -> None:
    (tmp_path / "previews").mkdir()
    preview = tmp_path / "previews" / "preview-staging.md"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Notes) as server:
        server.kept = {1: "of somebody"}  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        for text in ("No change.", "2 changed"):
            preview.write_text(text)
            environment = {
                "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
                "COMMENT_TOKEN": "of the job",
            }
            command = [sys.executable, str(SOURCE / "scripts" / "pull_request_comment.py"), "--gitlab", "7", "12"]
            done = subprocess.run(
                [*command, "previews"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
        server.shutdown()
        notes = server.kept  # type: ignore[attr-defined]
    assert list(notes) == [1, 2]
    assert notes[1] == "of somebody"
    assert notes[2].endswith("2 changed\n")

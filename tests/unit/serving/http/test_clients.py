"""Clients that callers use: each gets a prediction, also those that ask for HTTP/2 on the way."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.service import GOOD, Service, Setting

BODY = json.dumps({"transaction": GOOD})

_JAVA = """
import java.net.URI;
import java.net.http.*;
public class Ask {
  public static void main(String[] a) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    for (int i = 0; i < 3; i++) {
      HttpRequest request = HttpRequest.newBuilder(URI.create(a[0] + "/predict")).header("X-API-Key", a[1])
        .POST(HttpRequest.BodyPublishers.ofString(a[2])).build();
      HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.body());
    }
  }
}
"""
_GO = """
package main
import ("fmt"; "io"; "net/http"; "os"; "strings")
func main() {
  for i := 0; i < 3; i++ {
    request, _ := http.NewRequest("POST", os.Args[1] + "/predict", strings.NewReader(os.Args[3]))
    request.Header.Set("X-API-Key", os.Args[2])
    answer, err := http.DefaultClient.Do(request)
    if err != nil { panic(err) }
    body, _ := io.ReadAll(answer.Body)
    answer.Body.Close()
    fmt.Println(answer.StatusCode, string(body))
  }
}
"""
_NODE = """
const [url, key, body] = process.argv.slice(2);
(async () => {
  for (let i = 0; i < 3; i++) {
    const answer = await fetch(url + "/predict", {method: "POST", headers: {"X-API-Key": key}, body});
    console.log(answer.status, await answer.text());
  }
})();
"""


def _ask(program: str, command: list[str], service: Service, setting: Setting) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [*command, service.url, setting.api_key, BODY], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        status, _, body = line.partition(" ")
        assert status == "200", line
        assert len(json.loads(body)["predictions"]) == 1


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
def test_curl(service: Service, setting: Setting, version: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = [
        "curl",
        "-sS",
        version,
        "--noproxy",
        "*",
        f"{service.url}/predict",
        "-H",
        f"X-API-Key: {setting.api_key}",
    ]
    done = subprocess.run([*command, "-d", BODY], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 1


def test_java(service: Service, setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "Ask.java").write_text(_JAVA)
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed")
    _ask("java", ["java", str(tmp_path / "Ask.java")], service, setting)


def test_go(service: Service, setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "ask.go").write_text(_GO)
    _ask("go", ["go", "run", str(tmp_path / "ask.go")], service, setting)


def test_node(service: Service, setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "ask.js").write_text(_NODE)
    _ask("node", ["node", str(tmp_path / "ask.js")], service, setting)


def test_requests(service: Service, setting: Setting) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(3):
            url, headers = f"{service.url}/predict", {"X-API-Key": setting.api_key}
            assert session.post(url, data=BODY, headers=headers, timeout=10).status_code == 200

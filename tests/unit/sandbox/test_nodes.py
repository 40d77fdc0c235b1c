"""Parts of the sandbox with real nodes that need no node."""

import asyncio
import json
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sandbox.certificates import Authority, make_certificates
from sandbox.hosts import use_one_address
from sandbox.images import digest_of, make_image
from sandbox.nodes.control_groups import group_name, remove_groups
from sandbox.processes import free_ports
from tests.checkout import SOURCE


def _request(host: str, path: str) -> dict[str, Any]:
    return {"HTTP_HOST": host, "PATH_INFO": path, "asgi.scope": {"raw_path": path.encode()}}


def test_a_bucket_that_the_host_names_is_in_the_path() -> None:
    request = _request("models.s3.eu-central-1.amazonaws.com", "/a/b")
    use_one_address(request)
    assert (request["PATH_INFO"], request["HTTP_HOST"]) == ("/models/a/b", "localhost")
    assert request["asgi.scope"]["raw_path"] == b"/models/a/b"


@pytest.mark.parametrize("host", ["s3.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com:443"])
def test_a_service_of_the_cloud_keeps_its_path(host: str) -> None:
    request = _request(host, "/a")
    use_one_address(request)
    assert (request["PATH_INFO"], request["HTTP_HOST"]) == ("/a", "localhost")


def test_a_request_to_the_sandboxs_own_address_stays_as_it_is() -> None:
    request = _request("localhost:4711", "/bucket/a")
    use_one_address(request)
    assert (request["PATH_INFO"], request["HTTP_HOST"]) == ("/bucket/a", "localhost:4711")


def test_the_servers_certificate_has_the_clouds_names_and_the_addresses_that_are_given(tmp_path: Path) -> None:
    make_certificates(tmp_path, "eu-central-1", ("10.90.0.1",))
    names = _names(tmp_path / "server.pem")
    dns = names.get_values_for_type(x509.DNSName)
    assert {"localhost", "*.eu-central-1.amazonaws.com", "*.s3.eu-central-1.amazonaws.com"} <= set(dns)
    assert "10.90.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o600


def _names(file: Path) -> x509.SubjectAlternativeName:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_a_client_of_the_api_server_is_its_user_and_group(tmp_path: Path) -> None:
    Authority(tmp_path).issue("node-1", "system:node:node-1", organization="system:nodes")
    certificate = x509.load_pem_x509_certificate((tmp_path / "node-1.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"


def test_an_image_of_the_same_files_is_the_same_image(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    images = [make_image(tmp_path / name, {"/program": program}, {"Entrypoint": ["/program"]}) for name in "ab"]
    assert images[0].digest == images[1].digest
    manifest = json.loads(images[0].manifest)
    for each in (manifest["config"], *manifest["layers"]):
        content = images[0].blobs[each["digest"]].read_bytes()
        assert (digest_of(content), len(content)) == (each["digest"], each["size"])
    with tarfile.open(images[0].blobs[manifest["layers"][0]["digest"]]) as layer:
        modes = {entry.name: (entry.mode, entry.uid) for entry in layer}
    assert modes == {"tmp": (0o1777, 0), "program": (0o755, 0)}


def test_a_forward_goes_to_the_next_target_where_one_does_not_answer(tmp_path: Path) -> None:
    door, gone = free_ports(2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = server.getsockname()[1]
        targets = [("127.0.0.1", gone), ("127.0.0.1", there)]
        forward = {"listen_in": "", "listen": ("127.0.0.1", door), "connect_in": "", "targets": targets}
        file = tmp_path / "forwards.json"
        file.write_text(json.dumps([forward]))
        command = [sys.executable, "-m", "sandbox.nodes.forward", str(file)]
        with subprocess.Popen(command, cwd=SOURCE) as running:
            try:
                for _ in range(2):
                    assert asyncio.run(_through(door, server)) == b"answer"
            finally:
                running.terminate()


async def _through(door: int, server: socket.socket) -> bytes:
    """Sends a question through the door, answers it at the server, and returns what came back."""
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", door)
            break
        except OSError:
            await asyncio.sleep(0.05)
    writer.write(b"question")
    writer.write_eof()
    accepted, _ = await asyncio.to_thread(server.accept)
    with accepted:
        assert await asyncio.to_thread(accepted.recv, 100) == b"question"
        accepted.sendall(b"answer")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def test_control_groups_of_two_sandboxes_differ_and_none_to_remove_is_done_at_once(tmp_path: Path) -> None:
    assert group_name(tmp_path / "a", "node-1") != group_name(tmp_path / "b", "node-1")
    remove_groups(tmp_path)


def test_check_says_in_one_line_which_nodes_this_machine_can_have(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "check"]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    kind, _, reason = line.partition(" nodes: ")
    assert kind in ("real", "simulated")
    assert reason
    told = json.loads(subprocess.run([*command, "--json"], cwd=SOURCE, capture_output=True, check=True).stdout)
    assert told["nodes"] == kind
    assert bool(told["reason"]) == (kind == "simulated")

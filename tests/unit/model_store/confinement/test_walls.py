"""Behind the walls: what code that runs in the child all the same can reach, told by that code itself.

The code runs since the caller trusts `builtins.exec` by name; nothing else lets a file run code.
"""

import json
import os
import pickle
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelRegistry
from model_store.confinement.opening import Answer, open_confined, walls_here
from model_store.confinement.walls import Limits
from model_store.errors import ModelStoreError, OpeningFailed, SizeLimit
from model_store.registry.outside import inspect_file, register_file
from model_store.registry.request import RegistrationRequest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")


class _Runs:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code, {})


def _file_that_runs(code: str, directory: Path) -> Path:
    path = directory / "model.pkl"
    path.write_bytes(pickle.dumps(_Runs(code)))
    return path


def _told(code: str, directory: Path, registry: ModelRegistry) -> dict[str, Any]:
    """What code that runs in the child tells: it puts its findings into `told`."""
    script = f"import json\ntold = {{}}\n{code}\nraise RuntimeError('<<' + json.dumps(told) + '>>')"
    with pytest.raises(ModelStoreError) as raised:
        register_file(registry, _file_that_runs(script, directory), _REQUEST, trusted=["builtins.exec"])
    text = str(raised.value)
    found: dict[str, Any] = json.loads(text[text.index("<<") + 2 : text.index(">>")])
    return found


_REQUEST = RegistrationRequest(model_name="hostile", model_type="X")
_TRY = """
def attempt(name, action):
    try:
        told[name] = repr(action())
    except BaseException as error:
        told[name] = 'refused: ' + type(error).__name__
"""


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", encrypt=False)


def test_every_wall_stands_on_this_machine() -> None:
    assert [wall["name"] for wall in walls_here() if not wall["stands"]] == []


def test_code_that_runs_in_the_child_reaches_nothing_outside(
    tmp_path: Path, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "key"
    secret.write_text("secret")
    monkeypatch.setenv("MODEL_KEY", "top-secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        told = _told(
            _TRY
            + f"""
import ctypes, os, resource, socket, subprocess
def prctl(option, value):
    if ctypes.CDLL(None, use_errno=True).prctl(option, value):
        raise OSError(ctypes.get_errno())
attempt('network', lambda: socket.create_connection(('127.0.0.1', {port}), 2))
attempt('unix socket', lambda: socket.socket(socket.AF_UNIX))
attempt('read a key', lambda: open({str(secret)!r}).read())
attempt('read passwords', lambda: open('/etc/passwd').read(10))
attempt('write', lambda: open({str(tmp_path / "written")!r}, 'w').write('x'))
attempt('write to tmp', lambda: open('/tmp/written-by-a-model', 'w'))
attempt('remove', lambda: os.unlink({str(secret)!r}))
attempt('run', lambda: subprocess.run(['/bin/true']))
attempt('fork', os.fork)
attempt('exec', lambda: os.execv('/bin/true', ['true']))
attempt('signal', lambda: os.kill({os.getpid()}, 0))
attempt('the limits of the parent', lambda: resource.prlimit({os.getpid()}, resource.RLIMIT_CPU, (0, 0)))
attempt('the limits of another', lambda: resource.prlimit(1, resource.RLIMIT_CPU))
attempt('the priority of the parent', lambda: os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 10))
attempt('the processors of the parent', lambda: os.sched_setaffinity({os.getpid()}, {{0}}))
attempt('to outlive the parent', lambda: prctl(1, 0) and 1 / 0)
attempt('the parent', lambda: open('/proc/{os.getpid()}/environ', 'rb').read(1))
attempt('list a home', lambda: os.listdir('/root'))
attempt('mount', lambda: __import__('ctypes').CDLL(None, use_errno=True).mount(b'none', b'/tmp', b'tmpfs', 0, None))
told['key in the environment'] = 'MODEL_KEY' in os.environ
""",
            tmp_path,
            registry,
        )
    allowed = {name: result for name, result in told.items() if not str(result).startswith("refused: ")}
    assert allowed.pop("key in the environment") is False
    assert allowed.pop("mount", "-1") == "-1"
    assert allowed == {}
    assert secret.read_text() == "secret"
    assert not Path("/tmp/written-by-a-model").exists()


def test_threads_and_libraries_work_behind_the_walls(tmp_path: Path, registry: ModelRegistry) -> None:
    told = _told(
        "import threading, numpy, sklearn.ensemble\n"
        "thread = threading.Thread(target=lambda: told.setdefault('thread', True)); thread.start(); thread.join()\n"
        "told['sum'] = float(numpy.ones((200, 200)).dot(numpy.ones(200)).sum())",
        tmp_path,
        registry,
    )
    assert told == {"thread": True, "sum": 40000.0}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os._exit(0)", "gave no answer|exit code 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("raise SystemExit(0)", "SystemExit"),
        (("import os\nfor number in range(3, 999):\n  try: os.write(number, b'x' * 100)\n  except OSError: pass\n"
         "os._exit(0)"), "malformed answer"),
    ],
    ids=["leaves", "kills itself", "reads where nothing is", "exits", "talks nonsense"],
)  # fmt: skip
def test_every_failure_of_the_child_is_one_typed_error(
    tmp_path: Path, registry: ModelRegistry, code: str, message: str
) -> None:
    path = _file_that_runs(code, tmp_path)
    with pytest.raises(OpeningFailed, match=message):
        register_file(registry, path, _REQUEST, trusted=["builtins.exec"])
    assert registry.list_models() == []


def test_memory_has_its_limit(tmp_path: Path, registry: ModelRegistry) -> None:
    path = _file_that_runs("bytearray(1 << 40)", tmp_path)
    with pytest.raises(SizeLimit, match="memory"):
        register_file(registry, path, _REQUEST, trusted=["builtins.exec"])


def test_a_child_does_not_outlive_its_time(
    tmp_path: Path, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_OPENING_SECONDS", "2")
    path = _file_that_runs("while True: pass", tmp_path)
    started = time.monotonic()
    with pytest.raises(OpeningFailed, match="more than 2 s"):
        register_file(registry, path, _REQUEST, trusted=["builtins.exec"])
    assert time.monotonic() - started < 20
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not any(b"confinement.child" in Path(f"/proc/{each}/cmdline").read_bytes() for each in children)


def test_an_answer_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(list(range(1000))))
    with path.open("rb") as file, pytest.raises(OpeningFailed, match="too long"):
        open_confined("convert", {"serializer": "", "path": "model.pkl", "model_class": "", "target": "pickle"},
                      {"model": file}, most_bytes=100)  # fmt: skip


def test_an_inspection_happens_behind_the_walls_too(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04c__builtin__\neval\n.")
    assert inspect_file(path)["refused"]["rule"] == "name"


def test_an_unknown_limit_is_a_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODEL_OPENING_SECONDS", "soon")
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(1))
    with pytest.raises(ModelStoreError, match="MODEL_OPENING_SECONDS"):
        inspect_file(path)


def test_an_answer_knows_its_walls() -> None:
    answer = open_confined("walls", {}, {}, limits=Limits(seconds=30))
    assert isinstance(answer, Answer)
    assert {wall["name"] for wall in answer.walls} == {"limits", "namespaces", "privileges", "landlock", "seccomp"}

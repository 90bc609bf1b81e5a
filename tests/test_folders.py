from __future__ import annotations

import os
import resource
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from s3_server import S3Server

from noise_search.folders import Folder, FolderError


@pytest.fixture(params=["path", "file", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder that is not there yet, on every kind of file system."""
    own = uuid.uuid4().hex
    urls = {"path": str(tmp_path / own), "file": (tmp_path / own).as_uri(), "memory": f"memory://{own}/deep"}
    url = f"{request.getfixturevalue('bucket')}/{own}/deep" if request.param == "s3" else urls[request.param]
    return Folder(url)


def test_what_is_written_is_read_and_listed(folder: Folder) -> None:
    assert folder.names() == []
    folder.write("b.bin", b"second")
    folder.write("a.bin", bytes(range(256)) * 1000)
    folder.write("b.bin", b"in its place")
    assert folder.names() == ["a.bin", "b.bin"]
    assert (folder.read("a.bin"), folder.read("b.bin")) == (bytes(range(256)) * 1000, b"in its place")


def test_what_is_deleted_is_gone_and_what_is_missing_is_no_error(folder: Folder) -> None:
    for name in ("a.bin", "b.bin", "c.bin"):
        folder.write(name, b"content")
    folder.delete(["a.bin", "c.bin", "never.bin"])
    assert folder.names() == ["b.bin"]
    folder.remove()
    assert folder.names() == []
    folder.remove()


def test_a_file_that_is_missing_cannot_be_read_and_the_error_names_it(folder: Folder) -> None:
    with pytest.raises(FolderError, match=r"a\.bin"):
        folder.read("a.bin")
    folder.write("b.bin", b"content")
    with pytest.raises(FolderError, match=r"a\.bin"):
        folder.read("a.bin")


def test_what_another_process_wrote_is_seen(bucket: str, s3_server: S3Server) -> None:
    folder = Folder(f"{bucket}/{uuid.uuid4().hex}")
    folder.write("a.bin", b"ours")
    assert folder.names() == ["a.bin"]
    code = "import sys; from noise_search.folders import Folder; Folder(sys.argv[1]).write('b.bin', b'theirs')"
    environment = {**os.environ, **s3_server.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, folder.url], check=True, env=environment)
    assert folder.names() == ["a.bin", "b.bin"]
    assert folder.read("b.bin") == b"theirs"


@pytest.mark.parametrize("call", ["write", "read", "names"])
def test_a_bucket_that_is_not_there_is_an_error_and_is_not_made(call: str, bucket: str) -> None:
    nowhere = Folder("s3://no-such-bucket/folder")
    if call == "names":
        assert nowhere.names() == []
    else:
        calls: dict[str, Callable[[], object]] = {
            "write": partial(nowhere.write, "a.bin", b"content"),
            "read": partial(nowhere.read, "a.bin"),
        }
        with pytest.raises(FolderError):
            calls[call]()
    assert Folder("s3://").names() == [bucket.removeprefix("s3://")]


def test_a_store_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    import fsspec

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.filesystem("s3").clear_instance_cache()
    try:
        with pytest.raises(FolderError, match=r"127\.0\.0\.1:9"):
            Folder(f"{bucket}/folder").read("a.bin")
    finally:
        fsspec.filesystem("s3").clear_instance_cache()


# A full disk as the kernel tells of it: files of this process may not grow past a limit.
FULL = """
import resource, signal, sys
from noise_search.folders import Folder, FolderError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Folder(sys.argv[1])
folder.write("a.bin", b"before")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    folder.write("a.bin", bytes(100_000))
except FolderError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(folder.names(), folder.read("a.bin"))
"""


def test_a_file_that_does_not_fit_leaves_what_was_there_and_no_remains(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], check=True, env=environment, capture_output=True, text=True
    )
    told, left = ran.stdout.splitlines()
    assert told == f"{tmp_path}/a.bin: cannot write the file: File too large"
    assert left == "['a.bin'] b'before'"

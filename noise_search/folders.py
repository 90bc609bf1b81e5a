"""Folders of small files on any file system: this machine's, one that machines share, or an object store.

A folder is named by a path, or by a URL that fsspec opens: `s3://bucket/checkpoints`, `memory://here`. Logins are for
the library of the protocol to find. A local file is written beside its place and moved there; what is put into an
object store is there whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noise_search.files import write_whole

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_LOCAL = ("file://", "local://")
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "az", "adl"}  # where making a folder may make a bucket


class FolderError(Exception):
    """What a file system would not do, and why."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, which need not exist; it is made when the first file is written.

    Args:
        url: Path or URL.

    Every call raises `FolderError` for whatever goes wrong, as each file system has errors of its own.

    >>> folder = Folder("memory://example/of/one")
    >>> folder.write("a.bin", b"content")
    >>> folder.names(), folder.read("a.bin")
    (['a.bin'], b'content')
    >>> folder.remove()
    >>> folder.names()
    []
    """

    url: str

    def names(self) -> list[str]:
        """Names of what lies in it; none where it is missing."""
        with _errors(self.url):
            if (folder := self._local) is not None:
                return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            system, path = self._opened()
            system.invalidate_cache()  # others write there too
            try:
                return sorted(str(name).rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False))
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with _errors(f"{self.url}/{name}"):
            if (folder := self._local) is not None:
                return (folder / name).read_bytes()
            system, path = self._opened()
            return bytes(system.cat_file(f"{path}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole, in place of one that is there."""
        with _errors(f"{self.url}/{name}"):
            if (folder := self._local) is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / name, data, "file")
                return
            system, path = self._opened()
            if _OBJECT_STORES.isdisjoint(_protocols(system)):
                system.makedirs(path, exist_ok=True)
            system.pipe_file(f"{path}/{name}", data)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that is missing is no error."""
        for name in names:
            with _errors(f"{self.url}/{name}"):
                if (folder := self._local) is not None:
                    (folder / name).unlink(missing_ok=True)
                    continue
                system, path = self._opened()
                try:
                    system.rm_file(f"{path}/{name}")
                except FileNotFoundError:
                    continue

    def remove(self) -> None:
        """Delete it with everything in it; nothing where it is missing."""
        with _errors(self.url):
            if (folder := self._local) is not None:
                if folder.is_dir():
                    shutil.rmtree(folder)
                return
            system, path = self._opened()
            system.invalidate_cache()
            if system.exists(path):
                system.rm(path, recursive=True)

    @property
    def is_local(self) -> bool:
        """Whether it is a path, of this machine or of one that shares its disk."""
        return self._local is not None

    @property
    def _local(self) -> Path | None:
        prefix = next((one for one in _LOCAL if self.url.startswith(one)), "")
        return Path(self.url.removeprefix(prefix)) if prefix or "://" not in self.url else None

    def _opened(self) -> tuple[AbstractFileSystem, str]:
        import fsspec

        system, path = fsspec.url_to_fs(self.url)
        return system, str(path).rstrip("/")


def _protocols(system: Any) -> set[str]:
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        why = error.strerror if isinstance(error, OSError) and error.strerror else said
        raise FolderError(why if where in why else f"{where}: {why}") from error

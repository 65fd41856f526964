"""The files of a table's Iceberg metadata, kept by the lake's store as all of its files are: whole, or not at all."""

from __future__ import annotations

import io

from pyiceberg.io import FileIO, InputFile, OutputFile

from pipeline.lake.store import Store


def location_of(store: Store, name: str = "") -> str:
    """The URI by which readers of Iceberg find the folder or the file."""
    uri = store.uri(name)
    return uri if "://" in uri else f"file://{uri}"


class StoreFiles(FileIO):
    """pyiceberg's view of a folder of the lake. `written` are the names that were written, in their order."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.written = store, list[str]()
        self._root = location_of(store).rstrip("/") + "/"

    def name_of(self, location: str) -> str:
        """The name in the folder. Raises ValueError for a place outside of it."""
        if not location.startswith(self._root):
            raise ValueError(f"{location} is not below {self._root}")
        return location.removeprefix(self._root)

    def new_input(self, location: str) -> InputFile:
        return _Input(self, location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self, location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        self.store.delete(self.name_of(location if isinstance(location, str) else location.location))


class _Input(InputFile):
    def __init__(self, files: StoreFiles, location: str) -> None:
        super().__init__(location)
        self._store, self._name = files.store, files.name_of(location)

    def __len__(self) -> int:
        return self._store.size(self._name) or 0

    def exists(self) -> bool:
        return self._store.size(self._name) is not None

    def open(self, seekable: bool = True) -> io.BytesIO:  # noqa: ARG002 # it always is
        return io.BytesIO(self._store.read(self._name))


class _Output(OutputFile):
    def __init__(self, files: StoreFiles, location: str) -> None:
        super().__init__(location)
        self._files, self._name = files, files.name_of(location)

    def __len__(self) -> int:
        return self._files.store.size(self._name) or 0

    def exists(self) -> bool:
        return self._files.store.size(self._name) is not None

    def to_input_file(self) -> InputFile:
        return _Input(self._files, self.location)

    def create(self, overwrite: bool = False) -> _NewFile:  # noqa: ARG002 # names of new files are random
        return _NewFile(self._files, self._name)


class _NewFile(io.BytesIO):
    """Gets its name when it is closed after all of it was written."""

    def __init__(self, files: StoreFiles, name: str) -> None:
        super().__init__()
        self._files, self._name = files, name

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            super().close()

    def close(self) -> None:
        if not self.closed:
            self._files.store.replace(self._name, self.getvalue())
            self._files.written.append(self._name)
        super().close()

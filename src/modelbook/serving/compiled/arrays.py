"""Arrays in files that several processes share: they are mapped into memory, and held there once."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class ArrayFolder:
    """Keeps arrays in a folder, each under a name.

    Args:
        folder: The folder.

    Example:
        >>> import tempfile
        >>> arrays = ArrayFolder(Path(tempfile.mkdtemp()))
        >>> arrays.read(arrays.write("weights", np.array([1.0, 2.0]))).tolist()
        [1.0, 2.0]
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, array: npt.NDArray[Any]) -> str:
        """Write an array, and return the name that it is read by: this one, or one like it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number, free = 1, name
        while (self._folder / f"{free}.npy").exists():
            number += 1
            free = f"{name}_{number}"
        np.save(self._folder / f"{free}.npy", np.ascontiguousarray(array), allow_pickle=False)
        return free

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return an array, read-only."""
        mapped = np.load(self._folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return np.asarray(mapped)

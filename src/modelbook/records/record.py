"""What every record has in common."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from modelbook.files import write_whole


class Record(BaseModel):
    """A frozen record that round-trips through JSON, infinities and NaN included."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="strings",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the record that a JSON file holds.

        Raises:
            OSError: The file cannot be read.
            pydantic.ValidationError: It holds something else.
        """
        return cls.model_validate_json(path.read_bytes())

    def to_bytes(self) -> bytes:
        """Return the JSON that `write` puts into a file."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    def write(self, path: Path) -> None:
        """Write the record as JSON, whole or not at all.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        write_whole(path, self.to_bytes())

"""A model as a single value for the registry: an archive that is read in memory and never extracted."""

import io
import re
import struct
import zipfile
from collections.abc import Mapping

from fraudstream.errors import InputError
from fraudstream.model.artifact import Model, verified
from fraudstream.model.manifest import AGAIN

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of files in a model: nothing that a file system could interpret as a path."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip archive, with the same bytes for the same files."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), files[name])
    return sink.getvalue()


def unpack(packed: bytes, source: str) -> Model:
    """The model in such an archive. Raises InputError like `verified`, and if it is not an archive."""
    return verified(_unzip(packed, source), source)


def unpack_files(packed: bytes, source: str) -> dict[str, bytes]:
    """The files of such an archive, including checksums, for `write`. Raises like `unpack`."""
    files = _unzip(packed, source)
    verified(files, source)
    return files


def _unzip(packed: bytes, source: str) -> dict[str, bytes]:
    """The files of an archive that `pack` could have written; nothing is extracted, so no link is followed."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if not all(map(_NAME.fullmatch, names)):
                raise InputError(
                    f"{source} contains files outside its own directory; it was not opened.", hint=AGAIN
                )
            if len(set(names)) < len(names):
                raise InputError(f"{source} contains a file twice; it was not opened.", hint=AGAIN)
            # Uncompressed files are no larger than their archive, so a small one cannot fill the memory.
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            if not stored or sum(entry.file_size for entry in entries) > len(packed):
                raise InputError(
                    f"{source} is not a packed model: its files are compressed, or larger than the archive.",
                    hint=AGAIN,
                )
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error) as error:
        raise InputError(f"{source} is not a packed model: {error}.", hint=AGAIN) from None

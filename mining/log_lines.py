"""The bytes of a log: opened once, fingerprinted, and read line by line in bounded memory."""

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from mining.log_format import MAX_LINE_BYTES
from store.errors import InvalidDataError, MissingError, UsageError

STDIN = "-"
STDIN_NAME = "standard input"
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_KEPT_OF_A_LONG_LINE = 1000

# What else may stand at the beginning of a file, and the command that turns it into lines.
_FOREIGN = {
    b"\xff\xfe": ("UTF-16 text", "iconv -f UTF-16 -t UTF-8 {}"),
    b"\xfe\xff": ("UTF-16 text", "iconv -f UTF-16 -t UTF-8 {}"),
    b"\x28\xb5\x2f\xfd": ("zstd-compressed", "zstd -dc {}"),
    b"BZh": ("bzip2-compressed", "bzip2 -dc {}"),
    b"\xfd7zXZ\x00": ("xz-compressed", "xz -dc {}"),
    b"PK\x03\x04": ("a zip archive", "unzip -p {}"),
}


class Line(NamedTuple):
    """One line that is not blank, without its line end. `problem` says why it cannot be text, if so."""

    number: int  # 1-based
    offset: int  # of its first byte in the unpacked file
    content: bytes
    problem: str | None


@dataclass(frozen=True, slots=True)
class LogFile:
    """An opened file. `fingerprint` is the SHA-256 of its bytes as they lie on disk, compressed or not."""

    name: str  # as the user gave it
    fingerprint: str
    size: int  # bytes on disk
    raw: IO[bytes]
    modified_ns: int

    def unpacked(self) -> IO[bytes]:
        """Return the file from its beginning, decompressed where it is gzip."""
        self.raw.seek(0)
        packed = self.raw.read(2) == _GZIP
        self.raw.seek(0)
        return io.BufferedReader(gzip.GzipFile(fileobj=self.raw), _BLOCK) if packed else self.raw

    def lines(self, read: Callable[[int], None] = lambda size: None) -> Iterator[Line]:
        """Read the lines; `read` is told, now and then, how many more bytes on disk that took.

        Raises:
            InvalidDataError: the gzip data is damaged or ends early, or the file changed while it was read.
        """
        stream = self.unpacked()
        number = told = 0
        try:
            for line in _split(stream):
                number = line.number
                yield line
                if (position := self.raw.tell()) - told >= _BLOCK:
                    read(position - told)
                    told = position
        except EOFError as error:
            raise InvalidDataError(
                f"{self.name}: the gzip data ends early, after line {number}: the file is truncated",
                hint=f"gzip -t {self.name}",
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InvalidDataError(
                f"{self.name}: the gzip data is damaged after line {number}: {error}", hint=f"gzip -t {self.name}"
            ) from error
        read(self.size - told)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise InvalidDataError if the file has been written to since it was opened."""
        now = os.fstat(self.raw.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified_ns):
            raise InvalidDataError(f"{self.name} was written to while it was read; import it when it is complete")


def _split(stream: IO[bytes]) -> Iterator[Line]:
    offset = number = 0
    while content := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        start, length = offset, len(content)
        problem = None
        if length > MAX_LINE_BYTES:
            problem = f"longer than {MAX_LINE_BYTES >> 20} MiB"
            end = content
            while end and not end.endswith(b"\n"):
                end = stream.readline(_BLOCK)
                length += len(end)
            content = content[:_KEPT_OF_A_LONG_LINE]
        offset += length
        if number == 1 and content.startswith(_BOM):
            content, start = content[len(_BOM) :], start + len(_BOM)
        if content and not content.isspace():
            content = content.rstrip(b"\r\n")
            yield Line(number, start, content, problem or _not_text(content))


def _not_text(content: bytes) -> str | None:
    if (place := content.find(0)) >= 0:
        return f"holds a NUL byte at offset {place} of the line"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start} of the line"
    return None


@contextlib.contextmanager
def opened(file: str | Path) -> Iterator[LogFile]:
    """Open a file, a pipe, or with `-` standard input. What cannot be read twice is copied to disk first.

    Raises:
        MissingError: there is no such file.
        UsageError: it is a directory, or cannot be read.
        InvalidDataError: its first bytes are those of another kind of file.
    """
    with contextlib.ExitStack() as stack:
        name = STDIN_NAME if str(file) == STDIN else str(file)
        source: IO[bytes] = sys.stdin.buffer if str(file) == STDIN else stack.enter_context(_open(file))
        raw = source
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raw = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(source, raw, _BLOCK)
        refuse_foreign(raw, name)
        status = os.fstat(raw.fileno())
        yield LogFile(name, _fingerprint(raw), status.st_size, raw, status.st_mtime_ns)


def check_readable(file: str | Path) -> None:
    """Find out before any work whether a file can be opened; see `opened` for what is raised."""
    if str(file) != STDIN and not Path(file).is_fifo():  # opening a pipe would take what is in it
        _open(file).close()


def _open(file: str | Path) -> IO[bytes]:
    try:
        return open(file, "rb", buffering=_BLOCK)
    except FileNotFoundError as error:
        raise MissingError(f"no file {file}", hint="uncited import --help") from error
    except IsADirectoryError as error:
        raise UsageError(f"{file} is a directory", hint=f"uncited import {file}/*") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _fingerprint(raw: IO[bytes]) -> str:
    raw.seek(0)
    return hashlib.file_digest(raw, "sha256").hexdigest()  # type: ignore[arg-type]


def refuse_foreign(raw: IO[bytes], name: str) -> None:
    """Raise InvalidDataError if the first bytes are those of a kind of file that nothing here reads."""
    raw.seek(0)
    beginning = raw.read(8)
    for magic, (what, command) in _FOREIGN.items():
        if beginning.startswith(magic):
            raise InvalidDataError(
                f"{name} is {what}; uncited reads JSON Lines in UTF-8, plain or gzip",
                hint=f"{command.format(name)} | uncited import -",
            )

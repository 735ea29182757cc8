"""CSV and Parquet files as lazy tables: encodings, separators, headers, and lines that are not quite CSV."""

from __future__ import annotations

import codecs
import csv
import gzip
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from steps.runtime.errors import BadDataError
from steps.sources.found import BROKEN, Part

log = logging.getLogger(__name__)

CHUNK = 1 << 24
SEPARATORS = (",", ";", "\t", "|")
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
LONGEST_FIELD = 1 << 20
UNENDED = "unexpected end of data"


@dataclass(frozen=True)
class Table:
    """A file with named columns, opened but not read."""

    name: str
    header: tuple[str, ...]
    rows: pl.LazyFrame
    """Columns in the order of `header`; texts throughout where the file is CSV."""
    csv: Path | None
    """The file in UTF-8, where it is CSV."""
    separator: str
    scratch: Path

    def part(self, found: Mapping[str, int]) -> Part:
        """The purchases in the table, when it is known which column means what."""
        # By place, because a header may have a name twice, which polars then changes.
        names = self.rows.collect_schema().names()
        rows = self.rows.select(pl.col(names[place]).alias(meaning) for meaning, place in found.items())
        if self.csv is None:
            return Part(self.name, rows)
        return Part(self.name, rows, lambda: self._repaired(found))

    def whole(self) -> pl.DataFrame:
        """All rows in memory, for the small tables of users and items."""
        try:
            return self.rows.collect()
        except pl.exceptions.PolarsError as error:
            raise BadDataError(f"{self.name} cannot be read: {first_line(error)}") from error

    def _repaired(self, found: Mapping[str, int]) -> Part:
        """The same purchases with every line that is not CSV in the column BROKEN: slow, but it reads the others."""
        assert self.csv is not None
        log.warning("%s has lines that are not CSV: reading it line by line", self.name)
        path = fresh(self.scratch)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*found, BROKEN])
            for fields, broken in _records(self.csv, self.separator, len(self.header), self.name):
                writer.writerow([*(fields[place] for place in found.values()), broken])
        return Part(self.name, _scan(path, ","))


def open_table(path: Path, scratch: Path, name: str = "") -> Table:
    """Opens a CSV file of any usual encoding and separator, or a Parquet file; also one compressed with gzip."""
    name = name or path.name
    with path.open("rb") as file:
        beginning = file.read(1024)
    if beginning.startswith(GZIP):
        return open_table(_unzipped(path, scratch, name), scratch, name)
    if beginning.startswith(PARQUET):
        return _parquet(path, scratch, name)
    text = as_utf8(path, scratch, name)
    header, separator = _header(text, name)
    return Table(name, header, _scan(text, separator), text, separator, scratch)


def as_utf8(path: Path, scratch: Path, name: str, otherwise: str = "") -> Path:
    """The file itself where it is UTF-8, else a copy that is.

    What is neither UTF-8 nor UTF-16 has the encoding `otherwise`; where nothing is known, Windows-1252 with a warning.
    """
    with path.open("rb") as file:
        beginning = file.read(1024)
    encoding = next((encoding for mark, encoding in MARKS if beginning.startswith(mark)), "") or _utf_16(beginning)
    if not encoding.startswith("utf-16"):
        if _is_utf8(path):
            return path
        if not otherwise:
            log.warning("%s is not UTF-8: read as Windows-1252", name)
        encoding = otherwise or "cp1252"
    copy = fresh(scratch)
    try:
        _copy(path, encoding, copy)
    except UnicodeError as error:
        if encoding.startswith("utf-16"):
            raise BadDataError(f"{name} begins like UTF-16 but is not: {error}") from error
        _copy(path, "latin-1", copy)  # five bytes mean nothing in Windows-1252; Latin-1 knows all
    return copy


def _copy(path: Path, encoding: str, copy: Path) -> None:
    with path.open(encoding=encoding, newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)


def _utf_16(beginning: bytes) -> str:
    """UTF-16 without a mark shows itself by a zero in every other byte."""
    half = len(beginning) // 2
    if half and beginning[1::2].count(0) > half * 0.4:
        return "utf-16-le"
    return "utf-16-be" if half and beginning[::2].count(0) > half * 0.4 else ""


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                # Most files are ASCII, which is told apart far more quickly than it is decoded.
                if decoder.getstate()[0] or not chunk.isascii():
                    decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _unzipped(path: Path, scratch: Path, name: str) -> Path:
    target = fresh(scratch)
    try:
        with gzip.open(path) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadDataError(f"{name} is a broken gzip file: {error}") from error
    return target


def _parquet(path: Path, scratch: Path, name: str) -> Table:
    try:
        rows = pl.scan_parquet(path, glob=False)
        header = tuple(rows.collect_schema().names())
    except pl.exceptions.PolarsError as error:
        raise BadDataError(f"{name} is a broken Parquet file: {first_line(error)}") from error
    return Table(name, header, rows, None, "", scratch)


def _header(path: Path, name: str) -> tuple[tuple[str, ...], str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline(CHUNK)
        if not line.strip():
            raise BadDataError(f"{name} has no purchases: {'its first line is' if line else 'it is'} empty")
        separator = max(SEPARATORS, key=_outside_quotes(line).count)
        file.seek(0)
        try:
            header = next(csv.reader(file, delimiter=separator, strict=True))
        except csv.Error as error:
            raise BadDataError(f"the first line of {name} is not CSV: {error}") from error
    return tuple(column.strip() for column in header), separator


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _scan(path: Path, separator: str) -> pl.LazyFrame:
    return pl.scan_csv(path, separator=separator, infer_schema=False, glob=False)


def _records(path: Path, separator: str, width: int, name: str) -> Iterator[tuple[list[str], str]]:
    """The fields of each line below the header; empty fields and what is wrong, where it is not CSV."""
    nothing = [""] * width
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            next(reader)
            while True:
                line = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if UNENDED in str(error):
                        raise BadDataError(f"{name} has a quote in line {line} that does not end") from error
                    yield nothing, f"line {line}: {error}"
                    continue
                if len(fields) > width:
                    yield nothing, f"line {line}: {len(fields)} fields, the header has {width}"
                else:
                    yield [*fields, *nothing[len(fields) :]], ""
    finally:
        csv.field_size_limit(before)


def fresh(scratch: Path) -> Path:
    """A new file in the temporary folder."""
    descriptor, name = tempfile.mkstemp(dir=scratch)
    os.close(descriptor)
    return Path(name)


def first_line(error: Exception) -> str:
    """What polars says, without its advice to programmers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

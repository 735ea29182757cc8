"""Recommends to everybody at once: plans shards of users, predicts each, and checks that together they are complete."""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.artifacts import candidate, names, records, release
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, ObjectMissingError, Store, open_store
from steps.runtime.errors import BadDataError, TryAgainError, UsageError
from steps.runtime.flags import whole_number
from steps.runtime.program import Parser, Step, main
from steps.runtime.progress import progress

if TYPE_CHECKING:
    import polars as pl
    import scipy.sparse as sp

    from steps.models.ids import Codes
    from steps.models.recommender import Recommendations
    from steps.models.scorer import Scorer

log = logging.getLogger(__name__)

STAGES = ("all", "plan", "shard", "merge")
BLOCK = 1 << 15
"""Users whose lists are put together at once."""
SUBMISSION = "submission.csv"
"""A line a user, as competitions want it: `customer_id,prediction`, the items parted by spaces."""


def parser() -> Parser:
    flags = Parser(
        prog="batch_predict",
        description=__doc__ or "",
        epilog="examples:\n  python -m steps.batch_predict --shards 2 --k 12\n"
        "  python -m steps.batch_predict --stage shard --shard 1 --shards 4",
    )
    flags.add_argument("--stage", default="all", help=f"one of {', '.join(STAGES)} (default: %(default)s)")
    flags.add_argument("--shards", default="4", help="into how many parts the users are cut (default: %(default)s)")
    flags.add_argument("--shard", default="", help="which part --stage shard predicts, counted from 0")
    flags.add_argument("--version", default="", help="the release to predict with (default: the live one)")
    flags.add_argument("--k", default="12", help="how many items a user gets (default: %(default)s)")
    flags.add_argument(
        "--users-file", default="", metavar="FILE",
        help="only these users, one id a line: a path, or store:KEY for an object of the data bucket (default: all)",
    )  # fmt: skip
    return flags


@dataclass(frozen=True)
class Work:
    """What is predicted, for whom, and where to."""

    release: Release
    users: list[str] | None
    shards: int
    k: int

    @property
    def prefix(self) -> str:
        folder = names.predictions(self.release.version)
        if self.users is None:
            return folder
        return f"{folder}/users-{hashlib.sha256(chr(10).join(self.users).encode()).hexdigest()[:12]}"

    def part(self, shard: int) -> str:
        return f"{self.prefix}/part-{shard:05d}-of-{self.shards:05d}"


def run(step: Step) -> None:
    flags, store = step.flags, open_store(step.settings)
    stage = flags.stage or "all"
    if stage not in STAGES:
        raise UsageError(f"--stage is {stage!r}: one of {', '.join(STAGES)}")
    shards = whole_number("--shards", flags.shards or "4", low=1, high=100_000)
    k = whole_number("--k", flags.k or "12", low=1, high=1000)
    users = read_users(store, flags.users_file) if flags.users_file else None
    work = Work(release.require(store.models, flags.version), users, shards, k)

    if stage == "plan":
        step.output("version", str(work.release.version))
        step.output("shards", [{"shard": str(shard), "shards": str(shards)} for shard in range(shards)])
    if stage == "shard":
        shard = whole_number("--shard", flags.shard, low=0, high=shards - 1)
        step.output("users", str(predict(store, work, [shard])))
        step.output("part", store.models.address(f"{work.part(shard)}.parquet"))
    if stage == "all":
        predict(store, work, list(range(shards)))
    if stage in ("all", "merge"):
        total = merge(store.models, work)
        log.info("%d users have at most %d items each from version %d", total, k, work.release.version)
        step.output("users", str(total))
        step.output("predictions", store.models.address(work.prefix))


def read_users(store: Store, source: str) -> list[str]:
    """The listed ids in their order, each once."""
    try:
        if source.startswith("store:"):
            text = store.data.get(source.removeprefix("store:")).decode()
        else:
            text = Path(source).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise BadDataError(f"--users-file {source!r} is not UTF-8") from error
    except (OSError, ObjectMissingError, ValueError) as error:
        raise UsageError(f"--users-file {source!r} cannot be read: {error}") from error
    # Not splitlines: an id may hold one of the rarer characters at which that breaks.
    lines = (line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
    users = list(dict.fromkeys(filter(None, lines)))
    if not users:
        raise BadDataError(f"--users-file {source!r} names nobody")
    return users


def predict(store: Store, work: Work, shards: list[int]) -> int:
    """Writes some shards and returns how many users they hold. A shard written twice is the same file."""
    done, calculated = 0, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        chosen = candidate.read(store.models, work.release.candidate)
        scorer, bought = candidate.scorer(store.models, chosen, Path(scratch))
        total = len(work.users) if work.users is not None else len(scorer.users)
        with progress("predicting", total) as bar:
            for shard in shards:
                start, end = total * shard // work.shards, total * (shard + 1) // work.shards
                table, share = frame(scorer, bought, work, range(start, end), bar.advance)
                write(store.models, work, shard, table, Path(scratch))
                done += end - start
                calculated += share * (end - start)
    log.info("%d users: %.1f %% of all scores were calculated to know the best", done, 100 * calculated / max(done, 1))
    return done


def frame(
    scorer: Scorer, bought: sp.csr_matrix, work: Work, rows: range, advance: Callable[[int], None]
) -> tuple[pl.DataFrame, float]:
    """One row a user: ids and scores travel together. Also the share of all scores that had to be calculated."""
    import numpy as np
    import polars as pl

    from steps.models.scorer import rows_of

    tables, calculated = [_empty()], 0.0
    catalogue = pl.Series(scorer.items.names(np.arange(len(scorer.items))), dtype=pl.String)
    for start in range(rows.start, rows.stop, BLOCK):
        places = range(start, min(start + BLOCK, rows.stop))
        ids = work.users[places.start : places.stop] if work.users is not None else None
        codes: Codes = (
            scorer.users.codes(ids) if ids is not None else np.arange(places.start, places.stop, dtype=np.int32)
        )
        found = scorer.recommend_many(codes, work.k, rows_of(bought, codes), of=len(rows))
        calculated += found.calculated * len(codes)
        users = pl.DataFrame({"user": ids if ids is not None else scorer.users.names(codes), "known": found.known})
        tables.append(users.with_columns(*lists(found, catalogue)))
        advance(len(codes))
    return pl.concat(tables), calculated / max(len(rows), 1)


def lists(found: Recommendations, catalogue: pl.Series) -> tuple[pl.Series, ...]:
    """The items and scores of each user; nobody's place is left out."""
    import polars as pl

    from steps.models.recommender import NOBODY

    nobody = (found.items == NOBODY).ravel()
    flat = {
        "items": catalogue.gather(found.items.ravel().clip(0)),
        "scores": pl.Series(found.scores.ravel(), dtype=pl.Float32),
    }
    if not nobody.any():
        return lists_of(flat, found.items.shape)
    empty = pl.Series(nobody)
    items, scores = lists_of({name: column.set(empty, None) for name, column in flat.items()}, found.items.shape)
    return items.list.drop_nulls(), scores.list.drop_nulls()


def lists_of(columns: Mapping[str, pl.Series], shape: tuple[int, ...]) -> tuple[pl.Series, ...]:
    return tuple(column.reshape(shape).arr.to_list().alias(name) for name, column in columns.items())


def _empty() -> pl.DataFrame:
    import polars as pl

    lists = {"items": pl.List(pl.String), "scores": pl.List(pl.Float32)}
    return pl.DataFrame(schema={"user": pl.String, "known": pl.Boolean, **lists})


def write(models: Bucket, work: Work, shard: int, table: pl.DataFrame, scratch: Path) -> None:
    """Under a name that tells which part it is of how many."""
    parquet = scratch / "part.parquet"
    # The k travels in the file, so that merge can tell a part of this work from one of another.
    table.write_parquet(parquet, compression="lz4", metadata={"k": str(work.k)})
    models.put_file(f"{work.part(shard)}.parquet", parquet)


def merge(models: Bucket, work: Work) -> int:
    """Checks that all shards are there and every user is in one of them, makes one CSV, and says so in a manifest."""
    import polars as pl

    present = {entry.key: entry for entry in models.list(f"{work.prefix}/part-")}
    wanted = [f"{work.part(shard)}.parquet" for shard in range(work.shards)]
    missing = [key for key in wanted if key not in present]
    if missing:
        raise TryAgainError(f"{len(missing)} of {work.shards} shards are missing, {models.address(missing[0])} first")
    users: list[pl.Series] = []
    with tempfile.TemporaryDirectory() as scratch, (Path(scratch) / SUBMISSION).open("wb") as csv:
        for number, key in enumerate(wanted):
            local = Path(scratch) / f"{number}.parquet"
            models.get_file(key, local)
            found = pl.read_parquet_metadata(local).get("k")
            if found != str(work.k):
                raise TryAgainError(f"{models.address(key)} has k {found}, not {work.k}: predict this shard again")
            part = pl.read_parquet(local, columns=["user", "items"])
            users.append(part["user"])
            lines = part.select(customer_id="user", prediction=pl.col("items").list.join(" "))
            lines.write_csv(csv, include_header=number == 0)
        everybody = pl.concat(users)
        if everybody.n_unique() != len(everybody):
            raise BadDataError(f"a user is in two shards of {models.address(work.prefix)}")
        csv.flush()
        models.put_file(f"{work.prefix}/{SUBMISSION}", Path(csv.name))
    about = {
        "version": work.release.version,
        "model": work.release.model,
        "candidate": work.release.candidate,
        "k": work.k,
        "users": len(everybody),
        "parts": [key.rsplit("/", 1)[-1] for key in wanted],
    }
    models.put(f"{work.prefix}/{names.MANIFEST}", records.encode(about))
    models.delete(key for key in present if key.rsplit(".", 1)[0] + ".parquet" not in wanted)
    return len(everybody)


if __name__ == "__main__":
    sys.exit(main(parser(), run))

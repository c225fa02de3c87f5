"""Parquet, by pyarrow. A pandas index is a column like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError
from lnp_edge.base.install import require
from lnp_edge.readers import BLOCK_ROWS, NUMBER, TEXT, TIME, Block, Empty, Table, damaged, finite_or_nan, named_columns

ENDINGS = (".parquet", ".pq")


def open_table(path: Path) -> Table:
    require("pyarrow")
    import pyarrow
    from pyarrow import types
    from pyarrow.parquet import ParquetFile

    def kind(of) -> str:
        of = of.value_type if types.is_dictionary(of) else of
        if types.is_integer(of) or types.is_floating(of) or types.is_decimal(of):
            return NUMBER
        if types.is_timestamp(of) or types.is_date(of):
            return TIME
        return TEXT if types.is_string(of) or types.is_large_string(of) or types.is_boolean(of) else ""

    try:
        with ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, ValueError, pyarrow.ArrowException) as e:
        raise damaged(path, e) from None
    if not rows:
        raise Empty(f"{path} has no rows", "remove it")
    known = [(field.name, kind(field.type)) for field in schema]
    known = [(name, of) for name, of in known if of]  # lists and structures are no columns
    if len({name for name, _ in known}) < len(known):
        raise DataError(f"{path} has two columns of one name", "rename one")
    columns = named_columns([name for name, _ in known], [of for _, of in known])
    return _Parquet(path, columns, [name for name, _ in known], rows)


class _Parquet(Table):
    def __init__(self, path: Path, columns: Sequence, inside: list[str], expected: int):
        super().__init__(path, columns)
        self.expected = min(expected, 2**31)
        self.inside = dict(zip(self.names, inside, strict=True))

    def blocks(self, numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        import pyarrow
        from pyarrow.parquet import ParquetFile

        self.rows = 0
        order = [*numbers, *others]
        try:
            with ParquetFile(self.path) as file:
                for batch in file.iter_batches(BLOCK_ROWS, columns=[self.inside[name] for name in order]):
                    block: Block = {}
                    for name in order:
                        values = batch.column(batch.schema.get_field_index(self.inside[name]))
                        plain = values.to_numpy(zero_copy_only=False)
                        block[name] = finite_or_nan(plain) if name in numbers else _plain(plain)
                    self.rows += len(batch)
                    yield block
        except (OSError, ValueError, TypeError, MemoryError, pyarrow.ArrowException) as e:
            raise damaged(self.path, e) from None


def _plain(values: np.ndarray) -> np.ndarray:
    return values.astype(object) if values.dtype.kind not in "iuM" else values

"""How the tables of HAT (Wang et al., ACL 2020) describe architectures: by averages over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, permutations

import numpy as np
from numpy.typing import NDArray

from search_spaces.space import Codes, SearchSpace, Value

#: The choices of each layer, and the table's column with their average over the layers.
ENCODER_COLUMNS = {"ffn": "encoder_ffn_embed_dim_avg", "heads": "encoder_self_attention_heads_avg"}
DECODER_COLUMNS = {
    "ffn": "decoder_ffn_embed_dim_avg",
    "heads": "decoder_self_attention_heads_avg",
    "ende_heads": "decoder_ende_attention_heads_avg",
    "ende_layers": "decoder_arbitrary_ende_attn_avg",
}

#: All columns of the table that describe an architecture.
COLUMNS = (
    "encoder_embed_dim",
    "encoder_layer_num",
    *ENCODER_COLUMNS.values(),
    "decoder_embed_dim",
    "decoder_layer_num",
    *DECODER_COLUMNS.values(),
)


def codes_of(space: SearchSpace, table: Mapping[str, Sequence[float]]) -> Codes:
    """Codes of one architecture with the averages of each row of a table.

    Averages do not identify an architecture, but its cost sums are nearly the same for all that have them: MACs of
    linear layers, weights and kernels are exactly so. The one that is given has options as even as possible, and
    orders the numbers of encoder layers so that they have no tendency to meet many or few heads.

    Args:
        space: as `hat` makes it.
        table: the columns `COLUMNS`.

    Returns:
        An integer matrix of shape (n, number of choices).

    Raises:
        ValueError: when no architecture of the space has the values of a row; the row and column are named.
    """
    rows = np.column_stack([np.asarray(table[column], dtype=np.float64) for column in COLUMNS])
    found = _Averages(space)
    distinct, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    codes = np.zeros((len(distinct), len(space.choices)), dtype=np.int64)
    for index, row in enumerate(distinct):
        try:
            codes[index] = found.row(dict(zip(COLUMNS, row.tolist(), strict=True)))
        except ValueError as error:
            raise ValueError(f"row {first[index]} is no architecture of the space: {error}") from error
    return space.canonical(codes[inverse.ravel()])


class _Averages:
    """Finds options by their averages; remembers what it found."""

    def __init__(self, space: SearchSpace) -> None:
        self._choices = {choice.name: choice for choice in space.choices}
        self._column = {choice.name: column for column, choice in enumerate(space.choices)}
        self._encoder_layers = sum(name.startswith("encoder") and name.endswith("_ffn") for name in self._choices)
        self._even: dict[tuple[str, int, float], tuple[int, ...]] = {}
        self._orders: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...]] = {}

    def row(self, values: Mapping[str, float]) -> NDArray[np.int64]:
        """Codes of the architecture of one row."""
        if values["encoder_layer_num"] != self._encoder_layers:
            raise ValueError(f"encoder_layer_num is {values['encoder_layer_num']:g}, not {self._encoder_layers}")
        codes = np.zeros(len(self._choices), dtype=np.int64)
        depth = int(values["decoder_layer_num"])
        picked: dict[str, Value] = {
            "encoder_width": values["encoder_embed_dim"],
            "decoder_width": values["decoder_embed_dim"],
            "decoder_layers": values["decoder_layer_num"],
        }
        for name, value in picked.items():
            codes[self._column[name]] = self._choices[name].index(value)
        for part, column in ENCODER_COLUMNS.items():
            self._set(codes, "encoder", part, self._layers("encoder", part, self._encoder_layers, column, values))
        lists = {part: self._layers("decoder", part, depth, column, values) for part, column in DECODER_COLUMNS.items()}
        lists["ende_layers"] = self._unrelated(lists["ende_heads"], lists["ende_layers"])
        for part, options in lists.items():
            self._set(codes, "decoder", part, options)
        return codes

    def _set(self, codes: NDArray[np.int64], side: str, part: str, options: Sequence[Value]) -> None:
        for number, option in enumerate(options, start=1):
            name = f"{side}{number}_{part}"
            codes[self._column[name]] = self._choices[name].index(option)

    def _layers(self, side: str, part: str, layers: int, column: str, values: Mapping[str, float]) -> tuple[int, ...]:
        """Rising options of all layers with the average of a column, as even as possible."""
        total = round(values[column] * layers, 2)
        key = (f"{side}1_{part}", layers, total)
        if key not in self._even:
            lists = combinations_with_replacement([int(o) for o in self._choices[key[0]].options], layers)
            fitting = [options for options in lists if sum(options) == total]
            if not fitting:
                raise ValueError(f"no {layers} options of {key[0]!r} have the average {values[column]:g} of {column!r}")
            self._even[key] = min(fitting, key=lambda options: sum(option**2 for option in options))
        return self._even[key]

    def _unrelated(self, heads: tuple[int, ...], layers: tuple[int, ...]) -> tuple[int, ...]:
        """The order of `layers` in which the sum of products with `heads` is nearest to what chance gives."""
        key = (heads, layers)
        if key not in self._orders:
            a, b = np.array(heads, dtype=np.float64), np.array(sorted(set(permutations(layers))), dtype=np.int64)
            wanted = a.sum() * b[0].sum() / len(a)
            self._orders[key] = tuple(b[np.abs(b @ a - wanted).argmin()].tolist())
        return self._orders[key]


def columns_of(space: SearchSpace, codes: Codes) -> dict[str, NDArray[np.float64]]:
    """The table's columns `COLUMNS` of `codes`; `codes_of` gives an architecture with the same ones."""
    codes = space.canonical(codes)
    options = [np.array(choice.options, dtype=np.float64) for choice in space.choices]
    values = {c.name: options[column][codes[:, column]] for column, c in enumerate(space.choices)}
    active = dict(zip(values, space.active(codes).T, strict=True))

    def mean(side: str, part: str) -> NDArray[np.float64]:
        names = [name for name in values if name.startswith(side) and name.split("_", 1)[1] == part]
        names = [name for name in names if name[len(side)].isdigit()]
        total = np.sum([values[name] * active[name] for name in names], axis=0)
        return np.asarray(total / np.sum([active[name] for name in names], axis=0))

    layers = sum(name.startswith("encoder") and name.endswith("_ffn") for name in values)
    found = {
        "encoder_embed_dim": values["encoder_width"],
        "encoder_layer_num": np.full(len(codes), float(layers)),
        "decoder_embed_dim": values["decoder_width"],
        "decoder_layer_num": values["decoder_layers"],
    }
    found |= {column: mean("encoder", part) for part, column in ENCODER_COLUMNS.items()}
    found |= {column: mean("decoder", part) for part, column in DECODER_COLUMNS.items()}
    return {column: found[column] for column in COLUMNS}

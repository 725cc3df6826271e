"""[data] of a competition.toml: the tables, columns and image paths that the built-in reader goes by."""

from __future__ import annotations

import re
from math import prod
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from comp.config import ConfigTable

WILD = "*?["  # signs of a glob
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
OF_BOXES = ("box_format", "box_unit", "box_margin", "box_view", "box_of", "test_box")
MOST_MARGIN = 5.0  # of a box's longer side
MOST_TILES = 64  # of an image
MOST_OVERLAP = 0.5
PATTERN_GROUPS = ("label", "id", "group", "row")  # that a `pattern` may name
_OF_COCO = {"box": ("bbox",), "box_format": "xywh", "box_unit": "pixels", "box_of": ("width", "height")}
_USUALLY_OF_COCO = {"id": "annotation_id", "label": "category_name"}


def require_inside(path: str) -> None:
    """ValueError for what is no path or glob relative to the raw folder."""
    parts = path.split("/")
    wrong = not path or path.startswith("/") or ".." in parts or any(len(part) > 255 for part in parts)
    if wrong or any(ord(sign) < 32 for sign in path) or any("**" in part and part != "**" for part in parts):
        raise ValueError("a path or glob is relative to the raw folder, and stays in it")


class JoinedColumn(ConfigTable):
    """A column of another table, joined on the id."""

    table: str = Field(description="the other table, in the raw folder")
    key: str = Field(description="its column with the ids")
    column: str = Field(description="its column that is wanted")

    @field_validator("table")
    @classmethod
    def _of_the_raw_folder(cls, value: str) -> str:
        require_inside(value)
        return value


class DataFacts(ConfigTable):
    """What the raw folder holds, so that no ``adapter.py`` has to read it.

    ``shards`` are read in place; without a ``table`` their own columns say ids and labels. Labels come from one of
    ``label`` (a column), ``onehot`` (columns of 0 and 1), ``labels`` (a column with several
    names in a cell) or ``pattern`` (a regular expression on the path). With a table and none of them, the label is the
    template's target column; without a table it is the folder that an image lies in.
    """

    table: str = Field("", description="rows with labels: csv, tsv, json, jsonl, parquet, or COCO's json")
    test_table: str = Field("", description="rows to predict, where their columns are needed")
    id: str = Field("", description="the column with the ids; the template's id column unless given")
    label: str | tuple[str, ...] = Field(
        "", description="the column with the label; of a regression also several"
    )
    onehot: tuple[str, ...] | Literal["*"] = Field(
        (), description='columns of 0 and 1, a class each; "*" is every column that is not otherwise used'
    )
    labels: str = Field("", description="the column with all the names of a row in one cell")
    separator: str = Field(" ", min_length=1, description="between the names of a cell of `labels`")
    pattern: str = Field(
        "",
        description="a regular expression that is searched in a path: (?P<label>…), (?P<id>…), (?P<group>…), (?P<row>…)",
    )
    group: str | JoinedColumn = Field(
        "", description="the column of what must share a fold, or one of another table"
    )
    row: str = Field(
        "",
        description="where several images make one answer: the column that names it, or columns in braces, as in "
        "{patient_id}_{laterality}; rows of the template are these",
    )
    pool: Literal["mean", "max", "noisy-or"] = Field(
        "mean",
        description="what the predictions of a row's images come to: their mean, of two classes or several labels "
        "also the largest probability, or 1 - prod(1 - p)",
    )
    features: tuple[str, ...] = Field(
        (),
        description="columns of the tables that a network reads beside the image; * stands for any letters",
    )
    coco: str = Field(
        "",
        description="COCO's json: each annotation is a row, its category the label, the image its box; in place of `table` and `box`",
    )
    test_coco: str = Field("", description="that of the rows to predict, whose annotations need no category")
    box: tuple[str, ...] = Field(
        (),
        description="columns with a box of the image that a row is of: four, or one with four numbers in a cell",
    )
    test_box: tuple[str, ...] = Field((), description="those of `test_table`; `box` unless given")
    box_format: Literal["xywh", "xyxy", "cxcywh"] = Field(
        "xywh",
        description="left, top, width, height; or left, top, right, bottom; or the centre, width, height",
    )
    box_unit: Literal["pixels", "fractions"] = Field(
        "pixels", description="of the upright image; fractions are of its width and height, 0 to 1"
    )
    box_margin: float = Field(
        0.1, ge=0, le=MOST_MARGIN, description="share of a box's longer side that is added on every side"
    )
    box_view: Literal["crop", "both"] = Field(
        "crop",
        description="a row is the crop; or the crop and the whole image are two images of it (see `pool`)",
    )
    tiles: tuple[int, ...] = Field(
        (),
        description="rows and columns of tiles that each image is cut into, as in [2, 3]: each is an image of the row, see `pool`",
    )
    tile_overlap: float = Field(
        0.0, ge=0, le=MOST_OVERLAP, description="share of a tile's side that the next one shows, too"
    )
    box_of: tuple[str, ...] = Field(
        (),
        description="columns with width and height of the image that a box was drawn on: files of another size are refused",
    )
    images: str = Field("", description="paths of the labelled images, with {id}, {any column} or as a glob")
    test_images: str = Field("", description="paths of the images to predict; those of `images` unless given")
    shards: str = Field(
        "",
        description="a glob of parquet files, tars or LMDBs that hold labelled images, in place of `images`",
    )
    test_shards: str = Field("", description="those of the images to predict; `shards` unless given")
    image: str = Field(
        "",
        description="the column of a parquet shard, or suffix in a tar, that images have where it is not clear",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_coco(cls, value: Any) -> Any:
        return _with_coco(value)

    @field_validator("label", "onehot", "features", "box", "test_box", "box_of", "tiles", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("box", "test_box", mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) and value else value

    @field_validator("table", "test_table", "images", "test_images", "shards", "test_shards")
    @classmethod
    def _of_the_raw_folder(cls, value: str) -> str:
        if value:
            require_inside(value)
        return value

    @field_validator("images", "test_images")
    @classmethod
    def _whole_placeholders(cls, value: str) -> str:
        if set("{}") & set(PLACEHOLDER.sub("", value)):
            raise ValueError("a path has columns in braces, as in train/{id}.jpg")
        if (value and not set(value) & set(WILD + "{")) or value.endswith("/"):
            raise ValueError(
                "a path of images has {id}, another column in braces, or a *, as in train/{id}.jpg"
            )
        return value

    @field_validator("pattern")
    @classmethod
    def _with_groups(cls, value: str) -> str:
        if not value:
            return value
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        unknown = sorted(set(groups) - set(PATTERN_GROUPS))
        if unknown:
            raise ValueError(f"a pattern may name label, id, group and row, not {unknown[0]}")
        if not groups:
            raise ValueError("a pattern names what it finds: (?P<label>…), (?P<id>…) or (?P<group>…)")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> DataFacts:
        in_path = "label" in re.compile(self.pattern).groupindex if self.pattern else False
        given = [name for name in ("label", "onehot", "labels") if getattr(self, name)]
        given += ["pattern with (?P<label>…)"] * in_path
        if len(given) > 1:
            raise ValueError(f"labels come from one thing: {' and '.join(given)} are given, drop all but one")
        self._require_one_place()
        self._require_one_row()
        self._require_boxes()
        self._require_tiles()
        if self.features and self.shards:
            raise ValueError("features are columns of tables, and images lie in shards: drop one")
        if not self.table and not self.shards:
            needless = [name for name in ("label", "onehot", "labels", "id") if getattr(self, name)]
            if needless:
                raise ValueError(f"{needless[0]} names a column, and no table is given: add `table`")
            if isinstance(self.group, str) and self.group:
                raise ValueError("group names a column, and no table is given: add `table`")
            if self.features:
                raise ValueError("features name columns, and no table is given: add `table`")
            if not self.images:
                raise ValueError("rows come from a table or from image files: add `table` or `images`")
            if PLACEHOLDER.search(self.images):
                raise ValueError("images has a column in braces, and no table is given: add `table`")
        return self

    @property
    def has_rows(self) -> bool:
        """Whether several images make one answer."""
        return self.names_rows or self.box_view == "both" or bool(self.tiles)

    @property
    def parts(self) -> str:
        """What parts of images rows see; empty where they see whole images."""
        if self.tiles:
            return f"tiles = {list(self.tiles)}, tile_overlap = {self.tile_overlap:g}"
        return f"box_margin = {self.box_margin:g}, box_view = {self.box_view!r}" if self.box else ""

    @property
    def names_rows(self) -> bool:
        """Whether something says which answer an image belongs to."""
        return bool(self.row) or "?P<row>" in self.pattern

    def _require_one_row(self) -> None:
        """ValueError for rows of several images that are said twice, or where no other key goes with them."""
        if self.row and "?P<row>" in self.pattern:
            raise ValueError("rows come from one thing: row and pattern with (?P<row>…) are given, drop one")
        if self.row and set("{}") & set(PLACEHOLDER.sub("", self.row)):
            raise ValueError("row is a column, or has columns in braces, as in {patient_id}_{laterality}")
        if self.row and not self.table:
            raise ValueError(
                "row names a column, and no table is given: add `table`, or (?P<row>…) in pattern"
            )
        if self.names_rows and self.shards:
            raise ValueError("rows of several images are read from files: unpack the shards, or drop row")
        if self.pool != "mean" and not self.has_rows:
            raise ValueError(
                "pool goes with rows of several images: add `row`, (?P<row>…) in pattern, tiles or box_view"
            )

    def _require_boxes(self) -> None:
        """ValueError for keys of boxes that contradict each other, or that go with rows of no box."""
        if not self.box:
            defaults = type(self).model_fields
            given = next((key for key in OF_BOXES if getattr(self, key) != defaults[key].default), None)
            if given:
                raise ValueError(f"{given} is of boxes, and box names no columns: add `box`")
            return
        for key, columns in (("box", self.box), ("test_box", self.test_box)):
            if columns and len(columns) not in (1, 4):
                raise ValueError(f"{key} is four columns, or one with four numbers in a cell")
            if len(set(columns)) < len(columns) or "" in columns:
                raise ValueError(f"{key} names a column twice, or none")
        if self.box_of and (len(self.box_of) != 2 or self.box_unit != "pixels"):
            raise ValueError(
                "box_of is two columns, width and height of the image that boxes in pixels are of"
            )
        if self.shards:
            raise ValueError("boxes are of images in files: unpack the shards, or drop box")
        if not self.table:
            raise ValueError("box names columns, and no table is given: add `table`")
        if "?P<row>" in self.pattern:
            raise ValueError(
                "rows of boxes are named by a column: write `row` in place of (?P<row>…) in pattern"
            )
        if self.box_view == "both" and self.row:
            raise ValueError('box_view = "both" makes the images of a row itself: drop row, or take "crop"')
        if self.box_view == "both" and self.features:
            raise ValueError(
                'features stand beside one image a row: drop features, or take box_view = "crop"'
            )

    def _require_tiles(self) -> None:
        """ValueError for tiles that are none, and for what does not go with them."""
        if not self.tiles:
            if self.tile_overlap:
                raise ValueError("tile_overlap is of tiles: add `tiles`")
            return
        if len(self.tiles) != 2 or min(self.tiles) < 1 or not 1 < prod(self.tiles) <= MOST_TILES:
            raise ValueError(f"tiles is rows and columns, as in [2, 3], and 2 to {MOST_TILES} tiles in all")
        for key, asked in (("box", self.box), ("shards", self.shards), ("features", self.features)):
            if asked:
                raise ValueError(
                    f"tiles are of whole images in files, with nothing beside them: drop {key}, or tiles"
                )

    def _require_one_place(self) -> None:
        """ValueError where images are said to lie in shards and in files."""
        files = next((name for name in ("images", "test_images") if getattr(self, name)), "")
        if self.shards and files:
            raise ValueError(f"images lie in shards or in files: {files} and shards are given, drop one")
        alone = next((name for name in ("test_shards", "image") if getattr(self, name)), "")
        if alone and not self.shards:
            raise ValueError(f"{alone} goes with shards of labelled images: add `shards`")

    @property
    def train_pattern(self) -> str:
        """The paths of labelled images: the stated ones, else whatever image has the id in its name."""
        return self.images or "**/*"

    @property
    def test_pattern(self) -> str:
        """The paths of the images to predict: the stated ones, else those of labelled images."""
        return self.test_images or self.train_pattern

    def required(self, template: str) -> tuple[str, ...]:
        """What the raw folder must hold, by these facts and with this template ("made" for none)."""
        tables = [self.table, self.test_table, "" if template == "made" else template]
        if isinstance(self.group, JoinedColumn):
            tables.append(self.group.table)
        folders = [plain_folder(self.images), plain_folder(self.test_images)]
        shards = [self.shards, self.test_shards]
        return tuple(dict.fromkeys(name for name in (*folders, *shards, *tables) if name))


def plain_folder(pattern: str) -> str:
    """The folder that a pattern begins with, ``jpeg/train/`` of ``jpeg/train/{id}.jpg``; empty where there is none."""
    parts = pattern.split("/")[:-1]
    wild = (n for n, part in enumerate(parts) if set(part) & set(WILD + "{"))
    return "".join(f"{part}/" for part in parts[: next(wild, len(parts))])


def as_glob(pattern: str) -> str:
    """A pattern as a glob: columns in braces become ``*``."""
    return PLACEHOLDER.sub("*", pattern)


def _with_coco(table: Any) -> Any:
    """[data] with all that `coco` and `test_coco` stand for; itself where they are not there.

    Raises
    ------
    ValueError
        Where a key says something else than they do.
    """
    if not isinstance(table, dict) or not (table.get("coco") or table.get("test_coco")):
        return table
    coco, test_coco = table.get("coco"), table.get("test_coco")
    if not isinstance(coco or "", str) or not isinstance(test_coco or "", str):
        return table  # whose type is refused
    if not coco:
        raise ValueError("test_coco goes with coco, the annotations of the labelled images: add `coco`")
    fixed = {"table": coco, **_OF_COCO, **({"test_table": test_coco} if test_coco else {})}
    for key, value in fixed.items():
        given = table.get(key, value)
        given = (given,) if key == "box" and isinstance(given, str) else given
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise ValueError(f"coco says what {key} is: drop {key}, or coco")
    shapes = [key for key in ("onehot", "labels", "pattern") if table.get(key)]
    usual = {"id": _USUALLY_OF_COCO["id"]} if shapes else _USUALLY_OF_COCO
    return {**usual, **table, **fixed}

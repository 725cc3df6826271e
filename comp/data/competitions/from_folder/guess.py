"""The facts of a raw folder, proposed: each key with its evidence, and what the folder cannot say."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from comp.data.archives import how_to_unpack
from comp.data.competitions.data_facts import plain_folder
from comp.data.competitions.from_folder.box_guess import propose_boxes
from comp.data.competitions.from_folder.folder_labels import ByPath, labels_by_path
from comp.data.competitions.from_folder.image_patterns import PathPattern, pattern_of
from comp.data.competitions.from_folder.label_guess import FEW, Answer, guess_answer, separator_of, split_cell
from comp.data.competitions.from_folder.proposal import Fact, Proposal
from comp.data.competitions.from_folder.shard_guess import propose_shards
from comp.data.competitions.from_folder.survey import MATCHED, Survey, column, columns
from comp.data.competitions.from_folder.table_guess import (
    Link,
    best_train,
    column_of_names,
    column_of_several,
    columns_of_targets,
    group_column,
    id_beside,
    joined_group,
    label_column,
    links,
    onehot_sums,
    overlap,
)
from comp.data.csv_table import Table, listed
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import describe_folder
from comp.errors import InputError, RawDataError

_PAIR = re.compile(r"^(?P<group>.+)_(left|right|l|r)$", re.IGNORECASE)


def propose(raw: Path, metric: str = "", task: str = "") -> Proposal:
    """What a raw folder says of its competition.

    Parameters
    ----------
    raw : Path
    metric, task : str
        Where they are known: no folder says them.

    Raises
    ------
    InputError
        If the folder is none, or holds no images, or nothing says their labels.
    """
    if not raw.is_dir():
        raise RawDataError("the raw folder must be there", f"{raw} is not a folder", "correct the path")
    in_shards = propose_shards(raw, metric, task)
    if in_shards is not None:
        return in_shards
    survey = Survey(RawTree(raw))
    if not survey.images:
        packed = [how for path in survey.tree.files if (how := how_to_unpack(path))]
        value = f"{raw} has none that can be read; it holds {describe_folder(raw)}"
        remedy = (
            "; ".join(packed[:3])
            or "pixels in tables or arrays need an adapter.py: `comp new SLUG --layout array`"
        )
        raise RawDataError("a raw folder holds images", value, remedy)
    return _Proposer(survey, metric, task).proposal()


class _Proposer:
    def __init__(self, survey: Survey, metric: str, task: str) -> None:
        self.survey = survey
        self.metric = metric
        self.task = task
        self.found = Proposal()
        self.labelled: set[str] = set()  # images whose labels are in their paths
        self.name, self.template = self._template()
        self.id = self._template_id()
        self.asked = column(self.template, self.id) if self.template else []
        names = columns(self.template) if self.template else []
        self.targets = [name for name in names if name != self.id]
        trains, self.test = links(survey, self.name, self.asked, self.targets)
        self.train = best_train(trains, self.targets)

    def proposal(self) -> Proposal:
        labels, answer, groups = self._by_table() or self._by_path()
        self._write(labels, answer, groups)
        self.found.notes += [f"{name} was not looked into: {why}" for name, why in self.survey.unread.items()]
        return self.found

    def _template(self) -> tuple[str, Table | None]:
        for name in self.survey.templates:
            return name, self.survey.tables[name]
        return "", None

    def _template_id(self) -> str:
        """The template's column of ids: the one that names images or rows of another table, else the first."""
        if self.template is None:
            return "id"
        names = columns(self.template)
        path, share = self.survey.id_column(self.template)
        cells = column(self.template, path) if path else []
        return path if share >= MATCHED and len(set(cells)) == len(cells) else names[0]

    def _by_table(self) -> tuple[list[str], Answer, list[str]] | None:
        """Labels, answer and groups of a table with labelled rows; None where there is no such table."""
        link = self.train
        if link is None:
            return None
        link = Link(link.name, link.table, id_beside(link, self.test), link.path, link.share)
        label = self._table_labels(link)
        if label is None:
            return None
        self.train = link
        put = self.found.put
        rows = len(link.table)
        keys, labels, answer = label
        put("data.table", link.name, f"{rows} rows, {link.share:.0%} of which name an image by {link.path!r}")
        if self.test is not None:
            put("data.test_table", self.test.name, "it has the ids of the template")
        put("data.id", link.id, f"{len(set(column(link.table, link.id)))} ids")
        for key, fact in keys.items():
            self.found.facts[key] = fact
        return (
            labels,
            answer,
            self._table_groups(link, labels, [self.id, *(str(f.value) for f in keys.values())]),
        )

    def _table_labels(self, link: Link) -> tuple[dict[str, Fact], list[str], Answer] | None:
        targets = self.targets
        names = {name.casefold(): name for name in columns(link.table)}
        if len(targets) > 1:
            mine = [names[target.casefold()] for target in targets if target.casefold() in names]
            if len(mine) >= max(2, 0.9 * len(targets)):
                return self._of_columns(link, mine)
            means = columns_of_targets(link, targets)
            if means is not None:
                facts, labels, answer = self._of_columns(link, means[0])
                facts = {key: replace(fact, unsure=means[1]) for key, fact in facts.items()}
                return facts, labels, answer
            choice = column_of_names(link, targets)
            return self._one_of_many(link, choice.value, choice.why) if choice else self._in_cells(link)
        target = targets[0] if targets else ""
        cells = column(self.template, target) if self.template and target else []
        choice = label_column(link, target, cells, self.test)
        if choice is None:
            return None
        labels = column(link.table, choice.value)
        answer = guess_answer(labels, cells, target, self.metric, self.task)
        key = "data.labels" if answer.task == "multi-label" and separator_of(labels) else "data.label"
        facts = {key: Fact(choice.value, choice.why, choice.unsure)}
        if key == "data.labels":
            facts["data.separator"] = Fact(answer.data.get("separator", " "), "between the names of a cell")
        return facts, labels, answer

    def _of_columns(self, link: Link, names: list[str]) -> tuple[dict[str, Fact], list[str], Answer]:
        """Several columns of the table are the template's: classes of 0 and 1, or numbers."""
        binary, single = onehot_sums(link.table, names)
        cells = [column(link.table, name) for name in names]
        unsure = {} if self.metric else {"metric": "a folder does not say how answers are scored"}
        if not binary:
            why = f"{len(names)} columns of numbers, which the template has too"
            answer = Answer("regression", "number", self.metric or "rmse", why, why, unsure=unsure)
            return (
                {"data.label": Fact(names, why)},
                ["|".join(row) for row in zip(*cells, strict=True)],
                answer,
            )
        task = self.task or ("single-label" if single else "multi-label")
        why = "each row has exactly one 1" if single else "rows have several 1, or none"
        usual = "log_loss" if single else "roc_auc"
        told = f"a column for each of {len(names)} classes"
        answer = Answer(task, "probs", self.metric or usual, why, told, unsure=unsure)
        hot = [
            [name for name, cell in zip(names, row, strict=True) if cell.lower() not in ("0", "0.0", "false")]
            for row in zip(*cells, strict=True)
        ]
        return (
            {"data.onehot": Fact(names, f"columns of 0 and 1; {why}")},
            ["|".join(one) for one in hot],
            answer,
        )

    def _in_cells(self, link: Link) -> tuple[dict[str, Fact], list[str], Answer] | None:
        """A column whose cells name several of the template's columns; names that are none of them say: no class."""
        choice = column_of_several(link, self.targets)
        if choice is None or self.task not in ("", "multi-label"):
            return None
        labels = column(link.table, choice.value)
        between = separator_of(labels)
        answer = replace(self._of_probs(len(self.targets)), task="multi-label", why_task=choice.why)
        if not self.metric:
            answer = replace(answer, metric="roc_auc")
        others = {
            name for cell in labels for name in split_cell(cell, between) if name not in set(self.targets)
        }
        if others:
            answer.template["empty"] = others.pop()
        facts = {
            "data.labels": Fact(choice.value, choice.why),
            "data.separator": Fact(between, "between the names of a cell"),
        }
        answer.data["separator"] = between
        return facts, labels, answer

    def _one_of_many(self, link: Link, name: str, why: str) -> tuple[dict[str, Fact], list[str], Answer]:
        labels = column(link.table, name)
        return {"data.label": Fact(name, why)}, labels, self._of_probs(len(self.targets))

    def _of_probs(self, count: int) -> Answer:
        unsure = {} if self.metric else {"metric": "a folder does not say how answers are scored"}
        told = f"a column for each of {count} classes"
        return Answer(
            "single-label", "probs", self.metric or "log_loss", "one class a row", told, unsure=unsure
        )

    def _table_groups(self, link: Link, labels: Sequence[str], used: Sequence[str]) -> list[str]:
        choice = group_column(link, labels, used)
        if choice is not None:
            self.found.put("data.group", choice.value, choice.why, choice.unsure)
            return column(link.table, choice.value)
        joined = joined_group(self.survey, link, labels, self.name)
        if joined is not None:
            table, key, name, why = joined
            self.found.put("data.group", {"table": table, "key": key, "column": name}, why)
            return []
        ids = column(link.table, link.id)
        pairs = [_PAIR.match(one) for one in ids]
        if all(pairs) and len({pair["group"] for pair in pairs if pair}) < len(ids):
            why = "ids end in left and right: the two eyes, hands … of one"
            self.found.put("data.pattern", "(?P<group>[^/]+)_(left|right|l|r|L|R)[.][^/]*$", why)
            return [pair["group"] for pair in pairs if pair]
        return []

    def _by_path(self) -> tuple[list[str], Answer, list[str]]:
        """The same where folders or names of files are the labels."""
        self._refuse_unlinked()
        asked = pattern_of(self.survey, self.asked, "test") if self.asked else None
        predicted = set()
        if asked is not None and asked.share >= MATCHED and "train" not in asked.folder.lower():
            predicted = {path for path in self.survey.images if path.startswith(f"{asked.folder}/")}
        rest = [path for path in self.survey.images if path not in predicted]
        by_path = labels_by_path(rest, self.targets)
        if by_path is None:
            looked = ", ".join(self.survey.tables) or "no table"
            value = f"{self.survey.tree.raw}: {looked}; no class folders, no names of files that begin with a class"
            remedy = "`comp new SLUG --layout csv` scaffolds a competition to fill in by hand"
            raise InputError("something in a raw folder says the labels", value, remedy)
        self.train = None
        self.labelled = set(by_path.labels)
        return self._facts_of_paths(by_path)

    def _refuse_unlinked(self) -> None:
        """InputError where a table has the target, but nothing in it names an image: folders are no labels then."""
        wanted = {target.casefold() for target in self.targets}
        for name, table in self.survey.tables.items():
            if (
                name == self.name
                or name in self.survey.templates
                or len(table) < len(self.survey.images) / 20
            ):
                continue
            if wanted and wanted <= set(map(str.casefold, columns(table))):
                told = listed(columns(table), 6)
                value = (
                    f"{name} has {listed(self.targets, 3)}, and none of its columns ({told}) names the images"
                )
                remedy = "`comp new SLUG --layout csv` scaffolds an adapter.py that joins rows and images"
                raise InputError("a table of labels names its images", value, remedy)

    def _facts_of_paths(self, by_path: ByPath) -> tuple[list[str], Answer, list[str]]:
        labels = list(by_path.labels.values())
        self.found.put("data.images", by_path.images, by_path.why, by_path.unsure)
        if by_path.pattern:
            self.found.put("data.pattern", by_path.pattern, by_path.why)
        if len(self.targets) > 1:
            answer = self._of_probs(len(self.targets))
        else:
            target = self.targets[0] if self.targets else ""
            cells = column(self.template, target) if self.template and target else []
            answer = guess_answer(labels, cells, target, self.metric, self.task)
        self._group_of_paths(list(by_path.labels))
        return labels, answer, []

    def _group_of_paths(self, paths: list[str]) -> None:
        """A table that is of these images and has a group for them."""
        for name, table in self.survey.tables.items():
            if name == self.name:
                continue
            path, share = self.survey.id_column(table)
            if share >= MATCHED and overlap(paths, column(table, path)) == 1:
                choice = group_column(Link(name, table, path, path, share), [], [])
                if choice is not None:
                    joined = {"table": name, "key": path, "column": choice.value}
                    self.found.put("data.group", joined, choice.why, choice.unsure)
                    return

    def _write(self, labels: list[str], answer: Answer, groups: list[str]) -> None:
        """All facts in the order of a competition.toml."""
        data, self.found.facts = self.found.facts, {}
        put, unsure = self.found.put, answer.unsure
        put("task", answer.task, answer.why_task)
        put("metric", answer.metric, "" if "metric" in unsure else "as given", unsure.get("metric", ""))
        classes = self._classes(labels, answer)
        if classes:
            put("classes", classes, "the names in index order", unsure.get("classes", ""))
        rare = self._rare(labels, groups, answer)
        if rare:
            put("folds.rare", "spread", rare)
        order = (
            "table",
            "test_table",
            "id",
            "label",
            "onehot",
            "labels",
            "separator",
            "pattern",
            "group",
            "images",
        )
        self._images(data)
        for key in (f"data.{name}" for name in (*order, "test_images")):
            if key in data:
                self.found.facts[key] = data[key]
        propose_boxes(self.found, self.survey, self.train, self.test, labels)
        self._template_facts(answer)

    def _images(self, data: dict[str, Fact]) -> None:
        if self.train is not None:
            name = "id" if self.train.path == self.train.id else self.train.path
            found = pattern_of(self.survey, column(self.train.table, self.train.path), "train", name)
            if found is not None:
                data["data.images"] = Fact(found.pattern, found.why, found.unsure)
        test = self._test_pattern()
        if test is not None and not test.paths & self.labelled:
            data["data.test_images"] = Fact(test.pattern, test.why, test.unsure)
        elif self.asked:
            self._by_position(data)
        else:
            self._test_folder(data)

    def _test_pattern(self) -> PathPattern | None:
        if self.test is not None and self.test.path != self.test.id:
            rows = column(self.test.table, self.test.path)
            return pattern_of(self.survey, rows, "test", self.test.path)
        cells = self.asked or (column(self.test.table, self.test.id) if self.test else [])
        return pattern_of(self.survey, cells, "test") if cells else None

    def _by_position(self, data: dict[str, Fact]) -> None:
        """Ids that name no image: as many images in one test folder as rows are the rows, one by one."""
        folder = plain_folder(str(data["data.images"].value)) if "data.images" in data else ""
        rest = [path for path in self.survey.images if not path.startswith(folder)]
        counts = Counter(path.rpartition("/")[0] for path in rest)
        fitting = [name for name, count in counts.items() if count == len(self.asked)]
        doubt = "no id names an image"
        if len(fitting) == 1:
            doubt = "ids name no image: row i is taken for the i-th file in natural order"
            self.found.put("pairs", "position", f"{len(self.asked)} rows and as many images", doubt)
            self.found.put("order", "natural", "2 before 10")
            data["data.test_images"] = Fact(
                f"{fitting[0]}/*", f"{len(self.asked)} images, as many as rows", doubt
            )
        else:
            data["data.test_images"] = Fact("test/*", "", doubt)

    def _test_folder(self, data: dict[str, Fact]) -> None:
        """Where nothing names the images to predict: those of the folder that is called test, if there is one."""
        rest = [path for path in self.survey.images if path not in self.labelled]
        inside = [
            path for path in rest if re.search(r"(^|[/_-])test", path.rpartition("/")[0], re.IGNORECASE)
        ]
        tops = Counter(path.split("/", 1)[0] for path in inside)
        if not inside or self.asked:
            return
        chosen = [path for path in inside if path.startswith(f"{tops.most_common(1)[0][0]}/")]
        folders = {path.rpartition("/")[0] for path in chosen}
        root = os.path.commonpath(folders)
        depths = {path.removeprefix(f"{root}/").count("/") for path in chosen}
        stars = "*/" * depths.pop() if len(depths) == 1 else "**/"
        why = f"{len(chosen)} images, by the name of their folder"
        data["data.test_images"] = Fact(f"{root}/{stars}*", why)

    def _classes(self, labels: Sequence[str], answer: Answer) -> list[str]:
        """The classes in index order where the template wants places of words."""
        if answer.kind != "index":
            return []
        return sorted(set(labels))

    def _rare(self, labels: Sequence[str], groups: Sequence[str], answer: Answer) -> str:
        """What to say where a class has fewer rows or groups than the usual folds; empty where none has."""
        if answer.task == "regression":
            return ""
        counts: defaultdict[str, set[Any]] = defaultdict(set)
        for n, label in enumerate(labels):
            separator = str(answer.data.get("separator", "|"))
            for name in label.split(separator) if answer.task == "multi-label" else [label]:
                counts[name].add(groups[n] if groups else n)
        small = [name for name, found in counts.items() if name and len(found) < FEW]
        what = "groups" if groups else "rows"
        return (
            f"{len(small)} classes have fewer than {FEW} {what}, first {listed(sorted(small), 3)}"
            if small
            else ""
        )

    def _template_facts(self, answer: Answer) -> None:
        put, unsure = self.found.put, answer.unsure
        if self.template is None:
            put("template.file", "made", "no sample submission was there", "the site's columns are not known")
            put("template.kind", answer.kind if answer.kind != "prob" else "label", answer.why_kind)
            return
        others = [
            name for name in self.survey.templates[1:] if len(self.survey.tables[name]) == len(self.template)
        ]
        doubt = f"{', '.join(others[:3])} may be it" if others else ""
        put("template.file", self.name, f"{len(self.template)} rows", doubt)
        put("template.id", self.id)
        several = self.targets if answer.task == "regression" else "*"
        put("template.target", self.targets[0] if len(self.targets) == 1 else several)
        put("template.kind", answer.kind, answer.why_kind, unsure.get("template.kind", ""))
        for key, value in answer.template.items():
            put(f"template.{key}", value, "", unsure.get(f"template.{key}", ""))

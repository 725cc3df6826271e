"""How well wrong labels are found, on labels that people gave where the right ones are known.

    python benchmarks/label_errors.py --work WORKSPACE --run RUN --truth truth.csv [--by features]

The run is a finished one, made with `comp run` on the labels that people gave; truth.csv has id,label with the right
ones, by file names. Prints the average precision of three rankings of the rows: by 1 - p(label) of the out-of-fold
rows, by `comp labels --by probabilities`, and by `comp labels`; and precision and recall of what it names.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from comp.data.csv_table import read_table
from comp.pipelines.label_errors import verdict_on
from comp.runs import run as runs
from comp.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--run", default="latest")
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--by", default="auto", choices=("auto", "probabilities", "features"))
    args = parser.parse_args()
    table = read_table(args.truth)
    right = dict(zip(table.column("id"), table.column("label"), strict=True))
    workspace = Workspace(args.work)
    run = runs.find_run(workspace, args.run)
    for by in dict.fromkeys(("probabilities", args.by)):
        started = time.perf_counter()
        rows, verdict, judged_by = verdict_on(run, workspace, by=by)
        seconds = time.perf_counter() - started
        names = np.array(rows.labels.names)
        truth = np.array([right[i.rpartition("/")[2]] for i in rows.oof.ids])
        wrong = names[rows.truth] != truth
        if by == "probabilities":
            plain = 1 - rows.oof.probs[np.arange(len(wrong)), rows.truth]
            print(f"{len(wrong)} rows, {wrong.sum()} labels wrong")
            print(f"1 - p(label): average precision {average_precision_score(wrong, plain):.4f}")
        named, hits = verdict.suspected, verdict.suspected & wrong
        suggested = (names[verdict.suggested] == truth)[hits].mean() if hits.any() else 0.0
        print(
            f"comp labels by {judged_by}: average precision {average_precision_score(wrong, verdict.score):.4f}; "
            f"{named.sum()} named, precision {hits.sum() / max(named.sum(), 1):.3f}, "
            f"recall {hits.sum() / wrong.sum():.3f}, right class {suggested:.3f}; {seconds:.0f} s"
        )


if __name__ == "__main__":
    main()

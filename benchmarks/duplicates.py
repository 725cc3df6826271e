"""comp against imagededup and cleanvision on the same files, interleaved; and comp's index at a million.

    python benchmarks/duplicates.py prepare NPZ FOLDER           # 40,000 32x32 PNGs with planted duplicates
    python benchmarks/duplicates.py one comp|phash|cnn|cleanvision FOLDER   # one timed run, JSON to stdout
    python benchmarks/duplicates.py race FOLDER --python-peers PYTHON [--rounds 2] [--peers phash,cleanvision]
    python benchmarks/duplicates.py index [--count 1000000]      # made fingerprints only

`prepare` takes an npz with `train_jpeg` (uint8 bytes, joined) and `train_offsets`. Every tool runs in a
process of its own, from files on disk to a list of pairs, on the same two cores; peers may live in another
virtual environment. Recall is over planted pairs (original, copy); `other` counts all other pairs reported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CORES = 2
KINDS = (
    "jpeg 60",
    "webp 80",
    "resize 2",
    "resize 0.5",
    "mirror",
    "quarter turn",
    "crop 10 % one side",
    "crop 5 % every side",
    "brightness x1.2",
    "contrast -25 %",
    "greyscale",
    "mirror + jpeg 60",
)


def prepare(source: Path, folder: Path, count: int = 40_000, planted: int = 3_600) -> None:
    """`count` PNG files of which `planted` are changed copies of others; planted.json names the pairs."""
    import cv2
    from image_changes import clipped, cropped, encoded, grey, one_side

    rng = np.random.default_rng(0)
    packed = np.load(source)
    code, at = packed["train_jpeg"], packed["train_offsets"]
    images = [cv2.imdecode(code[at[i] : at[i + 1]], cv2.IMREAD_COLOR) for i in range(count - planted)]
    changes = {
        "jpeg 60": lambda i: encoded(i, ".jpg", 60),
        "webp 80": lambda i: encoded(i, ".webp", 80),
        "resize 2": lambda i: cv2.resize(i, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        "resize 0.5": lambda i: cv2.resize(i, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "mirror": lambda i: i[:, ::-1],
        "quarter turn": lambda i: np.rot90(i),
        "crop 10 % one side": lambda i: one_side(i, rng, 0.1),
        "crop 5 % every side": lambda i: cropped(i, 0.05, 0.05, 0.05, 0.05),
        "brightness x1.2": lambda i: clipped(i * 1.2),
        "contrast -25 %": lambda i: clipped((i - 128.0) * 0.75 + 128),
        "greyscale": grey,
        "mirror + jpeg 60": lambda i: encoded(np.ascontiguousarray(i[:, ::-1]), ".jpg", 60),
    }
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{k:06d}.png" for k in rng.permutation(count)]
    for name, image in zip(names, images, strict=False):
        cv2.imwrite(str(folder / name), image)
    pairs = []
    for k, row in enumerate(rng.choice(len(images), planted, replace=False)):
        kind = KINDS[k % len(KINDS)]
        cv2.imwrite(str(folder / names[len(images) + k]), np.ascontiguousarray(changes[kind](images[row])))
        pairs.append([names[row], names[len(images) + k], kind])
    (folder.parent / f"{folder.name}.json").write_text(json.dumps(pairs))


def by_comp(folder: Path) -> set[frozenset[str]]:
    import cv2

    from comp.checks.duplicates.candidates import perceptual
    from comp.checks.duplicates.search import near_duplicate_pairs

    cv2.setNumThreads(1)
    names = sorted(os.listdir(folder))

    def one(name: str) -> np.ndarray:
        return perceptual(cv2.cvtColor(cv2.imread(str(folder / name), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))

    with ThreadPoolExecutor(CORES) as pool:
        fingerprints = np.stack(list(pool.map(one, names)))
    found = near_duplicate_pairs(fingerprints, workers=CORES)
    return {frozenset((names[a], names[b])) for a, b in found.pairs.tolist()}


def by_imagededup(folder: Path, method: str) -> set[frozenset[str]]:
    from imagededup.methods import CNN, PHash

    if method == "phash":
        found = PHash(verbose=False).find_duplicates(
            image_dir=str(folder), num_enc_workers=CORES, num_dist_workers=CORES
        )
    else:
        found = CNN(verbose=False).find_duplicates(image_dir=str(folder), num_sim_workers=CORES)
    return {frozenset((name, other)) for name, others in found.items() for other in others}


def by_cleanvision(folder: Path) -> set[frozenset[str]]:
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder))
    lab.find_issues({"near_duplicates": {}, "exact_duplicates": {}}, n_jobs=CORES, verbose=False)
    found = set()
    for kind in ("near_duplicates", "exact_duplicates"):
        for group in lab.info[kind]["sets"]:
            names = [os.path.basename(path) for path in group]
            found |= {frozenset((a, b)) for k, a in enumerate(names) for b in names[k + 1 :]}
    return found


def one(tool: str, folder: Path) -> None:
    started = time.perf_counter()
    if tool == "comp":
        found = by_comp(folder)
    elif tool == "cleanvision":
        found = by_cleanvision(folder)
    else:
        found = by_imagededup(folder, tool)
    seconds = time.perf_counter() - started
    planted = json.loads((folder.parent / f"{folder.name}.json").read_text())
    hit = {kind: [0, 0] for kind in KINDS}
    for a, b, kind in planted:
        hit[kind][0] += frozenset((a, b)) in found
        hit[kind][1] += 1
    right = sum(h for h, _ in hit.values())
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {
                "tool": tool,
                "seconds": round(seconds, 2),
                "cpu_seconds": round(used, 1),
                "recall": round(right / len(planted), 4),
                "other": len(found) - right,
                "peak_mb": peak // 1024,
                "by_kind": {kind: round(h / n, 3) for kind, (h, n) in hit.items()},
            }
        )
    )


def race(folder: Path, peers_python: str, peers: list[str], rounds: int, limit: float) -> None:
    for k in range(rounds):
        for tool in ["comp", *peers]:
            python = sys.executable if tool == "comp" else peers_python
            command = [python, __file__, "one", tool, str(folder)]
            try:
                ran = subprocess.run(command, capture_output=True, text=True, timeout=limit)
            except subprocess.TimeoutExpired:
                print(f"round {k + 1}: {tool} was stopped after {limit:.0f} s", flush=True)
                continue
            last = ran.stdout.strip().splitlines()[-1:] or [ran.stderr.strip()[-300:]]
            print(f"round {k + 1}: {last[0]}", flush=True)


def index(count: int) -> None:
    """Made fingerprints: smooth random images with natural spectra, one in a hundred a changed copy."""
    import cv2

    from comp.checks.duplicates.candidates import FINGERPRINT_BYTES, perceptual
    from comp.checks.duplicates.search import near_duplicate_pairs

    rng = np.random.default_rng(0)
    fade = (
        1 / np.maximum(1, np.hypot(np.fft.fftfreq(36)[:, None] * 36, np.fft.rfftfreq(36)[None] * 36)) ** 1.3
    )
    copies = count // 100
    made = np.empty((count, FINGERPRINT_BYTES), np.uint8)
    for start in range(0, count - copies, 5000):
        many = min(5000, count - copies - start)
        waves = rng.standard_normal((many, 36, 19)) * np.exp(2j * np.pi * rng.random((many, 36, 19))) * fade
        grey = np.fft.irfft2(waves, s=(36, 36))
        grey = grey / grey.std(axis=(1, 2), keepdims=True) * 45 + 128
        pixels = np.clip(grey, 0, 255).astype(np.uint8)
        for k in range(many):
            made[start + k] = perceptual(cv2.merge([pixels[k]] * 3))
            if start + k < copies:
                copy = np.ascontiguousarray(pixels[k][:, ::-1][1:, :-1])
                made[count - copies + start + k] = perceptual(cv2.merge([copy] * 3))
    started = time.perf_counter()
    found = near_duplicate_pairs(made, workers=CORES)
    seconds = time.perf_counter() - started
    planted = {(k, count - copies + k) for k in range(copies)}
    got = set(map(tuple, found.pairs.tolist()))
    print(
        json.dumps(
            {
                "count": count,
                "seconds": round(seconds, 1),
                "recall": len(planted & got) / copies,
                "other": len(got - planted),
                "input_mb": made.nbytes >> 20,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("prepare")
    step.add_argument("npz", type=Path)
    step.add_argument("folder", type=Path)
    step = steps.add_parser("one")
    step.add_argument("tool", choices=("comp", "phash", "cnn", "cleanvision"))
    step.add_argument("folder", type=Path)
    step = steps.add_parser("race")
    step.add_argument("folder", type=Path)
    step.add_argument("--python-peers", default=sys.executable)
    step.add_argument("--peers", default="phash,cleanvision")
    step.add_argument("--rounds", type=int, default=2)
    step.add_argument("--limit", type=float, default=3600.0, help="seconds a tool may take")
    step = steps.add_parser("index")
    step.add_argument("--count", type=int, default=1_000_000)
    args = parser.parse_args()
    if args.step == "prepare":
        prepare(args.npz, args.folder)
    elif args.step == "one":
        one(args.tool, args.folder)
    elif args.step == "race":
        race(args.folder, args.python_peers, args.peers.split(","), args.rounds, args.limit)
    else:
        index(args.count)


if __name__ == "__main__":
    main()

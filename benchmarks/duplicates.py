"""comp against imagededup and cleanvision on the same files, interleaved; and comp's index at a million.

    python benchmarks/duplicates.py prepare NPZ FOLDER           # 40,000 32x32 PNGs with planted duplicates
    python benchmarks/duplicates.py one comp|phash|cnn|cleanvision FOLDER   # one timed run, JSON to stdout
    python benchmarks/duplicates.py race FOLDER --python-peers PYTHON [--rounds 2] [--peers phash,cleanvision]
    python benchmarks/duplicates.py make FILE [--count 1000000]  # fingerprints of made images, and planted copies
    python benchmarks/duplicates.py index FILE                   # the search alone, the file memory-mapped

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


COPIES = ("mirrored and cropped", "JPEG 60", "mirrored and brighter")


def make(file: Path, count: int) -> None:
    """Fingerprints of smooth random coloured images with natural spectra, the last hundredth changed copies."""
    from comp.checks.duplicates.candidates import FINGERPRINT_BYTES, perceptual

    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(36)[:, None] * 36, np.fft.rfftfreq(36)[None] * 36)
    fade = 1 / np.maximum(1, frequency) ** 1.3
    copies, step = count // 100, 2000
    made = np.lib.format.open_memmap(file, "w+", np.uint8, (count, FINGERPRINT_BYTES))
    for start in range(0, count - copies, step):
        many = min(step, count - copies - start)
        waves = rng.standard_normal((many, 3, 36, 19)) * np.exp(2j * np.pi * rng.random((many, 3, 36, 19)))
        fields = np.fft.irfft2(waves * fade, s=(36, 36))
        fields = fields / fields.std(axis=(2, 3), keepdims=True)
        light, red, blue = 45 * fields[:, 0] + 128, 15 * fields[:, 1], 15 * fields[:, 2]
        pixels = np.clip(np.stack([light + red, light - (red + blue) / 2, light + blue], axis=3), 0, 255)
        for k, image in enumerate(pixels.astype(np.uint8)):
            made[start + k] = perceptual(image)
            if start + k < copies:
                made[count - copies + start + k] = perceptual(_copy(image, (start + k) % len(COPIES)))
    made.flush()


def _copy(image: np.ndarray, kind: int) -> np.ndarray:
    from image_changes import clipped, encoded

    if kind == 0:
        return np.ascontiguousarray(image[:, ::-1][1:, :-1])
    if kind == 1:
        return np.asarray(encoded(image, ".jpg", 60), np.uint8)
    return np.ascontiguousarray(clipped(image[:, ::-1] * 1.2))


def index(file: Path) -> None:
    from comp.checks.duplicates.search import near_duplicate_pairs

    made = np.load(file, mmap_mode="r")
    count, copies = len(made), len(made) // 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = near_duplicate_pairs(made, workers=CORES)
    seconds = time.perf_counter() - started
    use = resource.getrusage(resource.RUSAGE_SELF)
    got = set(map(tuple, found.pairs.tolist()))
    right = [(k, count - copies + k) in got for k in range(copies)]
    print(
        json.dumps(
            {
                "count": count,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(use.ru_utime + use.ru_stime, 1),
                "recall": {
                    kind: round(float(np.mean(right[n :: len(COPIES)])), 4) for n, kind in enumerate(COPIES)
                },
                "other": len(got) - sum(right),
                "input_mb": made.nbytes >> 20,
                "peak_mb": use.ru_maxrss >> 10,
                "peak_before_mb": before >> 10,
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
    step = steps.add_parser("make")
    step.add_argument("file", type=Path)
    step.add_argument("--count", type=int, default=1_000_000)
    step = steps.add_parser("index")
    step.add_argument("file", type=Path)
    args = parser.parse_args()
    if args.step == "prepare":
        prepare(args.npz, args.folder)
    elif args.step == "one":
        one(args.tool, args.folder)
    elif args.step == "race":
        race(args.folder, args.python_peers, args.peers.split(","), args.rounds, args.limit)
    elif args.step == "make":
        make(args.file, args.count)
    else:
        index(args.file)


if __name__ == "__main__":
    main()

"""Records a command in a real terminal as a moving SVG, which any browser plays and a README may show.

    python docs/terminal/record.py OUT.svg [COMMAND]

The command (`comp run digits --folds 3` unless another is given) is run in tmux, in a fresh folder, with the `comp` of the Python that
runs this script. What stands on the screen is looked at four times a second. The film plays twice as fast as it was, no
screen stands for more than two seconds but the last, which stands for eight. It needs tmux.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

COLUMNS, ROWS = 88, 36
WIDE, HIGH, EDGE = 8.4, 18, 14  # of a character and round the screen, in pixels
FASTER, LONGEST, LAST = 2.0, 2.0, 8.0
STEP = 0.25  # seconds between two looks
COLOURS = ["#3b424b", "#ff8f85", "#6fd08c", "#f0c060", "#8ab4f8", "#c8a5ff", "#5fd3dd", "#e6e9ed"]
BRIGHT = ["#7d8792", "#ffb1aa", "#93e2aa", "#f7d58b", "#adc9fb", "#dac4ff", "#8be4eb", "#ffffff"]
INK, PAPER, DIM = "#e6e9ed", "#14171b", "#a3adb8"
SGR = re.compile(r"\x1b\[([0-9;]*)m")
Frame = tuple[float, list[str]]


def record(command: str) -> list[Frame]:
    """The screens that differ, each with its time in seconds since the first."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        name = f"record-{os.getpid()}"
        tmux = ["tmux", "-L", name, "-f", "/dev/null"]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = [
            *("env", "-i", f"HOME={folder}", f"PATH={path}", "TERM=screen-256color", "LANG=C.UTF-8"),
            *("PS1=$ ", "OMP_NUM_THREADS=1", f"COMP_CACHE={folder}/.cache", "bash", "--noprofile", "--norc"),
        ]
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        subprocess.run([*tmux, "new-session", "-d", *size, "-c", folder, *environment], check=True)
        try:
            time.sleep(1)
            return watch(tmux, command)
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)


def watch(tmux: list[str], command: str) -> list[Frame]:
    """Types a command, and looks at the screen until the prompt is there again."""
    start, frames = time.monotonic(), []

    def look() -> list[str]:
        words = [*tmux, "capture-pane", "-e", "-p", "-t", "0"]
        screen = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
        if not frames or screen != frames[-1][1]:
            frames.append((time.monotonic() - start, screen))
        return [line for line in (SGR.sub("", line).rstrip() for line in screen) if line]

    for letter in command:
        subprocess.run([*tmux, "send-keys", "-t", "0", "-l", letter], check=True)
        time.sleep(0.08)
        look()
    subprocess.run([*tmux, "send-keys", "-t", "0", "Enter"], check=True)
    time.sleep(1)
    while look()[-1:] != ["$"]:
        time.sleep(STEP)
    return frames


def timed(frames: list[Frame]) -> list[Frame]:
    """The screens with the times at which the film shows them."""
    now, film = 0.0, []
    for number, (at, screen) in enumerate(frames):
        film.append((now, screen))
        if number + 1 < len(frames):
            now += min((frames[number + 1][0] - at) / FASTER, LONGEST)
    return film


def colour_of(codes: list[int]) -> str | None:
    """The colour that the numbers of an SGR sequence from 38 on name; None for what this script does not know."""
    if codes[1:2] == [2] and len(codes) >= 5:
        return "#{:02x}{:02x}{:02x}".format(*codes[2:5])
    if codes[1:2] != [5] or len(codes) < 3:
        return None
    number = codes[2]
    if number < 16:
        return (COLOURS + BRIGHT)[number]
    if number >= 232:
        return "#{0:02x}{0:02x}{0:02x}".format(8 + 10 * (number - 232))
    levels = [0, 95, 135, 175, 215, 255]
    number -= 16
    return f"#{levels[number // 36]:02x}{levels[number // 6 % 6]:02x}{levels[number % 6]:02x}"


def restyle(style: dict[str, str], codes: list[int]) -> None:
    """Changes how text looks as an SGR sequence says."""
    while codes:
        code = codes[0]
        if code == 0:
            style.clear()
        elif code == 1:
            style["font-weight"] = "600"
        elif code == 2:
            style["fill"] = DIM
        elif code == 3:
            style["font-style"] = "italic"
        elif code == 22:
            style.pop("font-weight", None)
        elif code in (38, 48):
            if code == 38 and (colour := colour_of(codes)):
                style["fill"] = colour
            codes = codes[5 if codes[1:2] == [2] else 3 :]
            continue
        elif 30 <= code <= 37:
            style["fill"] = COLOURS[code - 30]
        elif 90 <= code <= 97:
            style["fill"] = BRIGHT[code - 90]
        elif code == 39:
            style.pop("fill", None)
        codes = codes[1:]


def line_of_svg(line: str) -> str:
    """A line of the screen as texts, each at its column."""
    texts, column, style = [], 0, dict[str, str]()
    for number, part in enumerate(SGR.split(line)):
        if number % 2:
            restyle(style, [int(code or 0) for code in part.split(";")])
        else:
            for word in re.finditer(r"\S+(?: \S+)*", part):
                looks = "".join(f' {key}="{value}"' for key, value in style.items())
                x = round((column + word.start()) * WIDE, 1)
                wide = round(len(word.group()) * WIDE, 1)
                texts.append(
                    f'<text x="{x:g}" textLength="{wide:g}"{looks}>{escape(word.group(), quote=False)}</text>'
                )
            column += len(part)
    return "".join(texts)


def film_of_svg(film: list[Frame]) -> str:
    """All screens side by side, moved past a window; each line that stands on several is drawn once and used."""
    wide, high = COLUMNS * WIDE + 2 * EDGE, ROWS * HIGH + 2 * EDGE
    end = film[-1][0] + LAST
    lines: dict[str, int] = {}
    screens = []
    for number, (_, screen) in enumerate(film):
        uses = []
        for row, line in enumerate(screen[:ROWS]):
            drawn = line_of_svg(line)
            if drawn:
                key = lines.setdefault(drawn, len(lines))
                uses.append(f'<use href="#l{key}" y="{row * HIGH}"/>')
        screens.append(f'<g transform="translate({number * wide:g})">{"".join(uses)}</g>')
    keys = "".join(
        f"{100 * at / end:.2f}%{{transform:translateX({-number * wide:g}px)}}"
        for number, (at, _) in enumerate(film)
    )
    last = f"translateX({-(len(film) - 1) * wide:g}px)"
    defs = "".join(f'<g id="l{key}">{drawn}</g>' for drawn, key in lines.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" role="img">'
        f"<title>a terminal in which comp runs</title><style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"
        f'"DejaVu Sans Mono","Liberation Mono",monospace;fill:{INK};white-space:pre}}'
        + "".join(f'text[fill="{c}"]{{fill:{c}}}' for c in sorted(set(re.findall(r' fill="(#\w+)"', defs))))
        + f"#film{{transform:{last};animation:film {end:.1f}s step-end infinite}}@keyframes film{{{keys}}}"
        f"@media(prefers-reduced-motion:reduce){{#film{{animation:none}}}}</style><defs>{defs}</defs>"
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/><svg x="{EDGE}" y="{EDGE}" width="{COLUMNS * WIDE:g}" '
        f'height="{ROWS * HIGH:g}" style="overflow:hidden" viewBox="0 0 {COLUMNS * WIDE:g} {ROWS * HIGH:g}">'
        f'<g transform="translate(0 13)"><g id="film">{"".join(screens)}</g></g></svg></svg>\n'
    )


def main() -> None:
    """Records, and writes the film."""
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    out, command = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "comp run digits --folds 3"
    film = timed(record(command))
    out.write_text(film_of_svg(film), encoding="utf-8")
    print(f"{out}: {len(film)} screens, {film[-1][0]:.0f} s, {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

#!/bin/bash
# What people see: real commands in a terminal of 80 and of 140 columns, kept as text beside this file.
#
#     bash docs/terminal/capture.sh [FOLDER OF THE comp COMMAND]
#
# It needs tmux and takes about four minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-$(dirname "$(command -v comp)")}
work=$(mktemp -d)/art
session=capture-$$
mkdir -p "$work"
cd "$work"
trap 'tmux -L "$session" kill-server 2>/dev/null || true; rm -rf "$(dirname "$work")"' EXIT

screen() { # NAME COLUMNS: keeps what stands there, without the prompt that waits and with no folder of this machine
    tmux -L "$session" capture-pane -p -J -S -200 -t 0 | sed -e 's/[[:space:]]*$//' -e "s#$work#.#g" \
        -e "s#${here%/docs/terminal}/##g" | awk '{ lines[NR] = $0; if ($0 != "" && $0 != "$") last = NR }
            END { for (n = 1; n <= last; n++) print lines[n] }' >"$here/$1-$2.txt"
}

is_idle() { [ "$(tmux -L "$session" capture-pane -p -t 0 | grep -v '^[[:space:]]*$' | tail -1)" = '$' ]; }

start() { # COMMAND: types it on an empty screen
    tmux -L "$session" send-keys -t 0 "clear" Enter
    sleep 1
    tmux -L "$session" clear-history -t 0
    tmux -L "$session" send-keys -t 0 "$1" Enter
    sleep 1
}

finish() { # waits for the prompt
    for _ in $(seq 600); do
        is_idle && return
        sleep 0.2
    done
    return 1
}

kept() { # NAME COMMAND
    start "$2"
    finish
    screen "$1" "$columns"
}

for columns in 80 140; do
    tmux -L "$session" -f /dev/null new-session -d -x "$columns" -y 50 \
        env -i HOME="$work" PATH="$bin:/usr/bin:/bin" TERM=screen-256color LANG=C.UTF-8 PS1='$ ' \
        OMP_NUM_THREADS=1 COMP_CACHE="$work/.cache" bash --noprofile --norc
    kept comp "comp"
    kept list "comp list"
    kept check "comp check digits"
    start "comp run digits --folds 3 --set epochs=8"
    for _ in $(seq 600); do
        tmux -L "$session" capture-pane -p -t 0 | grep -q "fold 1  epoch 3/" && break
        sleep 0.1
    done
    sleep 0.3
    screen run-in-progress "$columns"
    finish
    screen run-finished "$columns"
    kept run-quick "comp run digits --quick --seed 1"
    kept runs "comp runs"
    kept error "comp run digits --set optimizer.lrr=1 --set epochs=none"
    kept unknown "comp check nothing-here"
    tmux -L "$session" kill-server
    sleep 1
done

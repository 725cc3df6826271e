#!/bin/bash
# What people see: real commands in a terminal of 80 and of 140 columns, kept as text beside this file.
# bash docs/terminal/capture.sh [COMP]   (COMP: the folder of the comp command; needs tmux; about three minutes)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-$(dirname "$(command -v comp)")}
work=$(mktemp -d)/art
mkdir -p "$work"
cd "$work"
session=capture-$$
trap 'tmux -L "$session" kill-server 2>/dev/null || true; rm -rf "$(dirname "$work")"' EXIT

screen() { # NAME COLUMNS: what stands there, without empty lines at the end
    tmux -L "$session" capture-pane -p -S -200 -t 0 | sed -e 's/[[:space:]]*$//' -e "s#$work#.#g" |
        sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$here/$1-$2.txt"
}

type_in() { # COMMAND: and wait until it has ended
    tmux -L "$session" send-keys -t 0 "clear; tmux -L $session clear-history -t 0" Enter
    sleep 1
    tmux -L "$session" send-keys -t 0 "$1; tmux -L $session wait-for -S done" Enter
    [ "${2:-wait}" = go ] || tmux -L "$session" wait-for done
}

for columns in 80 140; do
    tmux -L "$session" -f /dev/null new-session -d -x "$columns" -y 50 \
        env -i HOME="$work" PATH="$bin:/usr/bin:/bin" TERM=screen-256color LANG=C.UTF-8 PS1='$ ' OMP_NUM_THREADS=1 COMP_CACHE="$work/.cache" \
        bash --noprofile --norc
    type_in "comp" && screen comp "$columns"
    type_in "comp list" && screen list "$columns"
    type_in "comp check digits" && screen check "$columns"
    type_in "comp run digits --folds 3 --set epochs=8" go
    for _ in $(seq 300); do
        sleep 0.2
        tmux -L "$session" capture-pane -p -t 0 | grep -q "fold 1  epoch 3/" && break
    done
    screen run-in-progress "$columns"
    tmux -L "$session" wait-for done
    screen run-finished "$columns"
    type_in "comp run digits --quick --seed 1"
    screen run-quick "$columns"
    type_in "comp runs" && screen runs "$columns"
    type_in "comp run digits --set optimizer.lrr=1 --set epochs=none" && screen error "$columns"
    type_in "comp check nothing-here" && screen unknown "$columns"
    tmux -L "$session" kill-server
    sleep 1
done

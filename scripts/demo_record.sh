#!/usr/bin/env bash
# make demo-record: record 10 s of a real X screen with the native core, from a machine with nothing installed.
# DEMO_SECONDS and DEMO_OUT change the length and the file; DEMO_PRIVATE=1 leaves the user's screen alone.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SECONDS_WANTED="${DEMO_SECONDS:-10}"
OUT="${DEMO_OUT:-demo.mp4}"

need_system build
ensure_venv
install_native

if usable_display; then
  say "recording your own screen, DISPLAY=$DISPLAY"
  note="Move something on it for the next $SECONDS_WANTED s."
else
  if [ -n "$WHY_NOT" ]; then echo "Your own screen cannot be recorded: $WHY_NOT"; fi
  need_system screen
  start_xvfb 1280x720
  export DISPLAY="$XVFB_DISPLAY"
  unset WAYLAND_DISPLAY
  say "recording a private X screen (Xvfb $DISPLAY, 1280×720) with terminals at work"
  # Ordinary X clients with real text: what is recorded is what any X screen would show.
  xterm -geometry 100x44+8+8 -fa Monospace -fs 10 -title scrolling -e bash -c '
    while :; do for f in cpp/*/*.hpp README.md; do
      while IFS= read -r line; do printf "%s\n" "$line"; sleep 0.02; done <"$f"; done; done' &
  CLEANUP+=("kill $! 2>/dev/null")
  xterm -geometry 36x18+900+40 -fa Monospace -fs 11 -title clock -e bash -c '
    while :; do clear; date +"%F  %H:%M:%S.%N" | cut -c1-23; sleep 0.1; done' &
  CLEANUP+=("kill $! 2>/dev/null")
  sleep 1.5
  note="It is not visible on your monitor; the file shows it."
fi

echo "$note"
rm -f "$OUT"
KVMSTREAM_BACKEND=native "$VENV/bin/kvmstream" record --seconds "$SECONDS_WANTED" "$OUT"
if [ ! -s "$OUT" ]; then die "the recording $OUT is missing or empty"; fi

say "recorded $(du -h "$OUT" | cut -f1) in $(realpath "$OUT")"
echo "Watch it:     mpv $OUT      (or VLC, or open it in a browser)"
echo "Look closer:  .venv/bin/kvmstream doctor; .venv/bin/kvmstream record --seconds 5 out.mp4"

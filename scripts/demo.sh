#!/usr/bin/env bash
# make demo: a hub and an agent on this machine, from a machine with nothing installed; prints a URL for a browser.
# DEMO_PRIVATE=1 leaves the user's screen alone; DEMO_ADDRESS=192.168.1.5 lets other machines in by that address;
# DEMO_PORT (8443) and the two before it are the ports; DEMO_SECONDS ends it by itself.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ADDRESS="${DEMO_ADDRESS:-127.0.0.1}"
WEB_PORT="${DEMO_PORT:-8443}"
PORTS=(--port "$((WEB_PORT - 2))" --video-port "$((WEB_PORT - 1))")

need_system build
ensure_venv
ensure_group hub
install_native

if usable_display; then
  say "sharing your own screen, DISPLAY=$DISPLAY"
else
  if [ -n "$WHY_NOT" ]; then echo "Your own screen cannot be shared: $WHY_NOT"; fi
  need_system screen
  start_xvfb 1280x720
  export DISPLAY="$XVFB_DISPLAY"
  unset WAYLAND_DISPLAY
  say "sharing a private X screen (Xvfb $DISPLAY, 1280×720) with a terminal"
  # Without a window manager the keyboard is that of the window under the pointer: this one is everywhere.
  xterm -geometry 160x48+0+0 -fa Monospace -fs 11 -title terminal &
  CLEANUP+=("kill $! 2>/dev/null")
fi

# Nothing of the user's own hub and credentials is touched.
folder="$(mktemp -d)"
CLEANUP+=("rm -rf '$folder'")
export XDG_CONFIG_HOME="$folder/config"
kvmstream() { "$VENV/bin/kvmstream" "$@"; }
head -c 24 /dev/urandom | base64 | kvmstream users --folder "$folder" add demo --role admin >/dev/null
host="$ADDRESS"
if [ "$ADDRESS" != 127.0.0.1 ]; then host=""; fi
: >"$folder/hub.log"
"$VENV/bin/kvmstream" hub --folder "$folder" --host "$host" --address "$ADDRESS" "${PORTS[@]}" --web-port "$WEB_PORT" \
  >>"$folder/hub.log" 2>&1 &
hub=$!
CLEANUP+=("kill $hub 2>/dev/null && wait $hub 2>/dev/null")
for ((i = 0; i < 100; i++)); do
  if grep -q 'Ctrl-C' "$folder/hub.log"; then break; fi
  kill -0 "$hub" 2>/dev/null || die "the hub did not start:" "$(cat "$folder/hub.log")"
  sleep 0.1
done
line="$(sed -n "s/^ *kvmstream pair '\(.*\)'$/\1/p" "$folder/hub.log")"
kvmstream pair "$line" --name "$(hostname)" >/dev/null
"$VENV/bin/kvmstream" agent "$ADDRESS" "${PORTS[@]}" >"$folder/agent.log" 2>&1 &
agent=$!
CLEANUP+=("kill $agent 2>/dev/null && wait $agent 2>/dev/null")
url="$(kvmstream users --folder "$folder" token demo --address "$ADDRESS" | sed -n 's/^browser: //p')"

say "open this in a browser:"
echo
echo "  $url"
echo
echo "The browser will warn of the certificate, which this hub has made for itself: go on all the same. The link logs"
echo "whoever has it in. Click into the picture and type. Ctrl-C ends the demo."
if [ -n "${DEMO_SECONDS:-}" ]; then sleep "$DEMO_SECONDS"; else wait "$agent"; fi

# Windows programs on a private X server: sourced after lib.sh, never run. Gives start_wine and end_wine.
# shellcheck shell=bash

# start_wine FOLDER [WxH [WxH+X+Y…]]: Wine on a private X server, its Windows in FOLDER; $WINESERVER is its server.
# The places are those of monitors on that screen, the primary one first.
start_wine() {
  local place setting mm number=0
  export WINEPREFIX="$1/prefix" WINEDEBUG=-all
  export WINEDLLOVERRIDES="mscoree,mshtml=" # or Wine asks whether to download them
  start_xvfb "${2:-1280x1024}"
  export DISPLAY="$XVFB_DISPLAY"
  WINESERVER="$(command -v wineserver || echo /usr/lib/wine/wineserver)"
  CLEANUP+=("'$WINESERVER' -k; '$WINESERVER' -w") # it writes into the folder until it has ended
  timeout 120 wine wineboot --init >"$1/log" 2>&1 ||
    die "Wine made no Windows folder within 120 s:" "$(tail -n 5 "$1/log")"
  if [ $# -lt 3 ]; then return 0; fi
  mm='s/^([0-9]+)x([0-9]+)/\1\/300x\2\/200/' # xrandr wants millimetres
  for place in "${@:3}"; do
    xrandr --setmonitor "$([ $number -gt 0 ] || echo '*')monitor$number" "$(sed -E "$mm" <<<"$place")" \
      "$([ $number -gt 0 ] && echo none || echo screen)" >>"$1/log" 2>&1 ||
      die "xrandr made no monitor $place:" "$(tail -n 5 "$1/log")"
    number=$((number + 1))
  done
  # By RandR Wine takes outputs for monitors, of which Xvfb has one; by Xinerama the X server tells it those. And it waits
  # 2 s for a window manager, whenever a window goes that was in front, where it takes windows for managed.
  for setting in UseXRandR Managed; do
    timeout 60 wine reg add 'HKCU\Software\Wine\X11 Driver' /v "$setting" /d N /f >>"$1/log" 2>&1 ||
      die "Wine's registry takes no value:" "$(tail -n 5 "$1/log")"
  done
  end_wine
  # What Windows itself runs stays for as long as any test does: its output must not be the pipe of the first one.
  timeout 120 wine wineboot >>"$1/log" 2>&1 || die "Wine does not start again:" "$(tail -n 5 "$1/log")"
}

# end_wine: the next program finds Windows started anew, on the $DISPLAY of then.
end_wine() {
  "$WINESERVER" -k || true # it says so when none runs
  "$WINESERVER" -w
}

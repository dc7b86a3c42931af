# What the scripts of the tests count with. They source it; the last line of each is that of `checked`, which tests/run.sh reads.
passed=0
failed=0
# With `yes` each check that passes is told too, with the seconds since the script began.
TELL_PASSED=${TELL_PASSED:-no}

# check WHAT COMMAND…: counts a command that must succeed, and shows what one that fails printed.
check() {
  local what=$1 said; shift
  if said=$("$@" 2>&1); then
    passed=$((passed + 1))
    if [ "$TELL_PASSED" = yes ]; then echo "$SECONDS s: $what"; fi
  else
    failed=$((failed + 1)); echo "FAILED after $SECONDS s: $what"; tail -60 <<<"$said"
  fi
}

# not COMMAND…: succeeds where the command fails.
not() { ! "$@"; }

# until_true SECONDS COMMAND…: waits until the command succeeds.
until_true() {
  local limit=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$limit" ] || { echo "not within its time: $*"; "$@"; return 1; }
    sleep 0.5
  done
}

# checked: says how many passed and failed, and succeeds if none failed.
checked() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}

#!/usr/bin/env bash
# The servers, one after the other, inside their namespaces: `inside.sh PROGRAM SERVERS WORK`. The last line is
# "N passed, N failed".
set -euo pipefail
program="$1" servers="$2" work="$3"
address=127.0.0.1:8080
ip link set lo up
pid=''
finish() {
  [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  pid=''
}
trap finish EXIT

# A server finds its files where Debian puts them: over the machine's own, in a mount namespace of its own.
from() { # TREE COMMAND…
  exec unshare --mount bash -c '
    for directory in /usr/share /usr/lib /etc; do
      [ ! -d "$0$directory" ] || mount -t overlay overlay -o "lowerdir=$0$directory:$directory" "$directory"
    done
    exec "$@"' "$1" "${@:2}"
}

start() { # NAME
  local run="$work/$1"
  mkdir -p "$run"
  chmod 777 "$run"
  case $1 in
    nginx)
      cat > "$run/conf" <<EOF
daemon off;
master_process off;
pid $run/pid;
error_log $run/errors;
events {}
http {
  log_format seen '\$request_method \$request_uri';
  access_log $run/seen seen;
  client_body_temp_path $run/bodies;
  proxy_temp_path $run/bodies;
  fastcgi_temp_path $run/bodies;
  uwsgi_temp_path $run/bodies;
  scgi_temp_path $run/bodies;
  server { listen $address; return 200 "fine\n"; }
}
EOF
      from "$servers/nginx-light" "$servers/nginx-light/usr/sbin/nginx" -c "$run/conf" -p "$run" 2>"$run/log" &
      ;;
    apache)
      local modules="$servers/apache2-bin/usr/lib/apache2/modules"
      cat > "$run/conf" <<EOF
ServerRoot $run
ServerName origin.test
PidFile $run/pid
DefaultRuntimeDir $run
Listen $address
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule alias_module $modules/mod_alias.so
User nobody
Group nogroup
ErrorLog $run/errors
LogFormat "%m %U%q" seen
CustomLog $run/seen seen
RedirectMatch 410 ".*"
EOF
      from "$servers/apache2-bin" "$servers/apache2-bin/usr/sbin/apache2" -d "$run" -f "$run/conf" -DFOREGROUND 2>"$run/log" &
      ;;
    lighttpd)
      cat > "$run/conf" <<EOF
server.modules = ( "mod_accesslog" )
server.document-root = "$run"
server.bind = "127.0.0.1"
server.port = 8080
server.errorlog = "$run/errors"
accesslog.filename = "$run/seen"
accesslog.format = "%m %U%q"
EOF
      from "$servers/lighttpd" "$servers/lighttpd/usr/sbin/lighttpd" -D -f "$run/conf" -m "$servers/lighttpd/usr/lib/lighttpd" 2>"$run/log" &
      ;;
    h2o)
      mkdir -p "$run/root"
      cat > "$run/conf" <<EOF
listen: {host: 127.0.0.1, port: 8080}
user: nobody
num-threads: 1
pid-file: $run/pid
error-log: $run/errors
access-log: {path: $run/seen, format: "%m %U%q"}
hosts: {default: {paths: {"/": {file.dir: $run/root}}}}
EOF
      from "$servers/h2o" "$servers/h2o/usr/bin/h2o" -c "$run/conf" 2>"$run/log" &
      ;;
    go)
      "$servers/origin" "$address" "$run/seen" 2>"$run/log" &
      ;;
  esac
  pid=$!
  for _ in $(seq 100); do
    ss -Hltn "sport = :8080" | grep -q . && return
    sleep 0.1
  done
  echo "$1 does not listen:" >&2
  tail -5 "$run/log" "$run/errors" >&2 2>/dev/null || true
  return 1
}

passed=0 failed=0
for name in nginx apache lighttpd h2o go; do
  start "$name"
  COFFERDAM_ORIGIN="$address" COFFERDAM_JUDGED="$work/$name/judged" \
    "$program" --quiet --ignored --exact tests::smuggling::a_real_server_gets_what_was_judged >"$work/$name/test" 2>&1 ||
    { cat "$work/$name/test" >&2; exit 1; }
  # Some write what they have seen when they end.
  finish
  behaviour=()
  # It answers a body that nobody wants with the end of the connection.
  [ "$name" != lighttpd ] || behaviour=(closes)
  if "$(dirname "$0")/compare.py" "$work/$name/judged" "$work/$name/seen" "${behaviour[@]}"; then
    passed=$((passed + 1))
  else
    echo "$name has seen something else than was judged" >&2
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

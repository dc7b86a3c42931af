#!/usr/bin/env bash
# The measurement, inside its namespaces: `inside.sh PROGRAM TOOLS WORK [NAME…]`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program="$1" tools="$2" work="$3"
shift 3
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(direct tunnel inspect squid squid-bump mitmproxy)
address=203.0.113.30 host=bench.internet.test proxy=127.0.0.1:3128
ulimit -n "$(ulimit -Hn)"

ip link set lo up
ip address add "$address/32" dev lo
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$host" > "$work/hosts"
mount --bind "$work/hosts" /etc/hosts

authority() { # DIRECTORY ALGORITHM…
  mkdir -p "$1"
  openssl req -x509 "${@:2}" -nodes -days 2 -subj "/CN=$(basename "$1")" -keyout "$1/current.key" -out "$1/current.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}
p256=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
authority "$work/internet" "${p256[@]}"
authority "$work/inspection" "${p256[@]}"
authority "$work/squid-ca" -newkey rsa:2048
openssl req "${p256[@]}" -nodes -subj "/CN=$host" -keyout "$work/host.key" -out "$work/host.csr" 2>/dev/null
openssl x509 -req -in "$work/host.csr" -CA "$work/internet/current.crt" -CAkey "$work/internet/current.key" -days 2 \
  -extfile <(printf 'subjectAltName=DNS:%s\nauthorityKeyIdentifier=keyid\n' "$host") -out "$work/host.crt" 2>/dev/null

pid='' origin=''
finish() {
  [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  pid=''
}
trap 'finish; [ -z "$origin" ] || kill "$origin" 2>/dev/null' EXIT

listening() { # PORT
  for _ in $(seq 300); do
    ss -Hltn "sport = :$1" | grep -q . && return
    sleep 0.1
  done
  echo "nothing listens at port $1" >&2
  exit 1
}

"$program" origin "$work/host.crt" "$work/host.key" &
origin=$!
listening 443

squid_conf() { # FILE PORT-OPTIONS…
  mkdir -p "$work/squid-run"
  chmod 777 "$work/squid-run"
  cat > "$1" <<EOF
http_port $proxy ${*:2}
http_access allow all
cache deny all
cache_mem 8 MB
access_log none
cache_log $work/squid-run/cache.log
cache_store_log none
pid_filename none
coredump_dir none
cache_effective_user nobody
cache_effective_group nogroup
visible_hostname bench
shutdown_lifetime 1 seconds
quick_abort_min 0 KB
quick_abort_max 0 KB
half_closed_clients off
pinger_enable off
max_filedescriptors 65536
hosts_file /etc/hosts
EOF
}

# squid finds its files where Debian puts them: over the machine's own, in a mount namespace of its own.
squid() { # TREE CONF
  exec unshare --mount bash -c '
    for directory in /usr/share /usr/lib /etc; do
      [ ! -d "$0$directory" ] || mount -t overlay overlay -o "lowerdir=$0$directory:$directory" "$directory"
    done
    mount --bind "$2" /etc/hosts
    exec "$0/usr/sbin/squid" -N -f "$1"' "$1" "$2" "$work/hosts"
}

start() { # NAME
  case $1 in
    tunnel | inspect)
      mode=Tunnel
      [ "$1" = tunnel ] || mode=Inspect
      "$program" gateway "$proxy" "$mode" "$work/internet/current.crt" "$work/inspection" "$work/tokens" 2>"$work/$1.log" &
      ;;
    squid)
      squid_conf "$work/squid.conf"
      squid "$tools/squid" "$work/squid.conf" 2>"$work/$1.log" &
      ;;
    squid-bump)
      cat "$work/squid-ca/current.crt" "$work/squid-ca/current.key" > "$work/squid-ca/both.pem"
      chmod 644 "$work/squid-ca/both.pem"
      squid_conf "$work/bump.conf" ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB \
        "tls-cert=$work/squid-ca/both.pem"
      certgen="$tools/squid-openssl/usr/lib/squid/security_file_certgen"
      rm -rf "$work/squid-run/certs"
      mkdir -p "$work/squid-run"
      "$certgen" -c -s "$work/squid-run/certs" -M 16MB >/dev/null
      chmod -R a+rwX "$work/squid-run/certs"
      cat >> "$work/bump.conf" <<EOF
sslcrtd_program $certgen -s $work/squid-run/certs -M 16MB
sslcrtd_children 4
ssl_bump bump all
tls_outgoing_options cafile=$work/internet/current.crt
EOF
      squid "$tools/squid-openssl" "$work/bump.conf" 2>"$work/$1.log" &
      ;;
    mitmproxy)
      mkdir -p "$work/mitmproxy"
      "$tools/mitmproxy/bin/mitmdump" -q --listen-host 127.0.0.1 --listen-port 3128 --set "confdir=$work/mitmproxy" \
        --set "ssl_verify_upstream_trusted_ca=$work/internet/current.crt" --set http2=false \
        --set stream_large_bodies=1 --set flow_detail=0 >"$work/$1.log" 2>&1 &
      ;;
  esac
  pid=$!
  listening 3128
}

# The CAs that the client of a way trusts.
trusted() { # NAME
  case $1 in
    inspect) echo "$work/inspection/current.crt" ;;
    squid-bump) echo "$work/squid-ca/current.crt" ;;
    mitmproxy) echo "$work/mitmproxy/mitmproxy-ca-cert.pem" ;;
    *) echo "$work/internet/current.crt" ;;
  esac
}

results=()
for name in "${names[@]}"; do
  echo "measuring $name" >&2
  to="$work/$name.json"
  : > "$work/tokens"
  if [ "$name" = direct ]; then
    "$program" load direct - "$(trusted direct)" "$work/tokens" - "$to" >&2
  else
    start "$name"
    # The authority of the gateway is read within its first seconds, and mitmproxy makes its own.
    sleep 2
    "$program" load "$name" "$proxy" "$(trusted "$name")" "$work/tokens" "$pid" "$to" >&2 ||
      { tail -5 "$work/$name.log" "$work/squid-run/cache.log" >&2 2>/dev/null; exit 1; }
    finish
    sleep 1
  fi
  results+=("$to")
done
"$program" table "${results[@]}"

#!/usr/bin/env bash
# Install the Debian packages that cluster, images and tests need. Does nothing where they are there.
set -euo pipefail
needed=(runc containernetworking-plugins iptables nftables ipset conntrack mmdebstrap busybox-static
        iproute2 git jq uidmap ca-certificates curl python3-venv gcc libc6-dev)
missing=()
for package in "${needed[@]}"; do
  dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null

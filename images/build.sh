#!/bin/bash
# Builds container images as OCI archives, without a container engine, and prints where each is.
#
#   images/build.sh NAME...|all [--binary PATH]
#
# cofferdam         the programs cofferdam and kubectl-cofferdam alone, for the roles and `helm test`   (needs --binary)
# cofferdam-runner  the program and Debian's git, for the containers in a sandbox (needs --binary)
# mini-swe-agent    a real coding agent on Debian with Python and git, for the demo
# claude-code, codex, gemini-cli, opencode, aider, openhands   others, each on the same, for `make agents`; not in `all`
# clients           the clients of seven languages and apt on a newer Debian, for `make clients`; not in `all`
# attacker          Debian with curl, git, Python and busybox, for the tests that try to get out
# busybox           busybox alone
#
# --binary is the statically linked cofferdam, with kubectl-cofferdam beside it. What was built is kept in ~/.cache/cofferdam by its content, with links
# in target/images. The names are those that the test cluster uses, cofferdam.test/NAME:dev.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/.." && pwd)
cache=${COFFERDAM_CACHE:-$HOME/.cache/cofferdam}
user=65532:65532
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() {
  echo "images/build.sh: $*" >&2
  exit 1
}

# What is run as an image's only file, or in a root that may have another C library, must not need one.
static() {
  [[ -f $1 ]] || fail "$1 is not there"
  ! readelf --program-headers "$1" | grep -q INTERP || fail "$1 is not statically linked"
}

# A directory with busybox and a link for each of its commands, as a tar archive.
applets() {
  local target=$1 tree output
  static /bin/busybox
  output=$cache/layers/busybox-$(sha256sum /bin/busybox | cut -c1-16)${target//\//-}.tar
  if [[ ! -f $output ]]; then
    mkdir -p "$cache/layers"
    tree=$(mktemp -d)
    mkdir -p "$tree$target"
    cp /bin/busybox "$tree$target/busybox"
    for command in $(/bin/busybox --list); do
      [[ $command = busybox ]] || ln -s busybox "$tree$target/$command"
    done
    tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$tree" --file "$output" .
    rm -rf "$tree"
  fi
  echo "$output"
}

# The layer with what mini-swe-agent needs from PyPI.
agent_layer() {
  local output
  output=$cache/layers/mini-swe-agent-$(cat "$here"/mini-swe-agent/{layer.sh,requirements.txt} | sha256sum | cut -c1-16).tar
  mkdir -p "$cache/layers"
  [[ -f $output ]] || "$here/mini-swe-agent/layer.sh" "$output"
  echo "$output"
}

# The layer with packages of npm that images/NAME names.
npm_layer() {
  local name=$1 output
  output=$cache/layers/$name-$(cat "$here/npm.sh" "$here/$name"/{package.json,package-lock.json,links} | sha256sum | cut -c1-16).tar
  mkdir -p "$cache/layers"
  [[ -f $output ]] || "$here/npm.sh" "$name" "$output"
  echo "$output"
}

# The layer with packages of PyPI that images/NAME names, compiled by the Python of a root.
python_layer() {
  local name=$1 root=$2 output
  output=$cache/layers/$name-$({ cat "$here/python.sh" "$here/$name"/{requirements.txt,bin/*}; echo "${root##*/}"; } | sha256sum | cut -c1-16).tar
  mkdir -p "$cache/layers"
  [[ -f $output ]] || "$here/python.sh" "$name" "$root" "$output"
  echo "$output"
}

# The tool that makes archives, built once for each of its contents.
tool() {
  local sources=$top/tests/cluster/image output
  output=$cache/image-$(cat "$sources"/*.go "$sources/go.mod" | sha256sum | cut -c1-16)
  if [[ ! -x $output ]]; then
    mkdir -p "$cache"
    CGO_ENABLED=0 go build -C "$sources" -buildvcs=false -o "$output" .
  fi
  echo "$output"
}

# pack NAME FLAG... LAYER...: makes the archive unless one of the same content is there.
pack() {
  local name=$1 program hash archive
  shift
  program=$(tool)
  hash=$({
    echo "$program" "$@"
    # Layers that are tar archives have their content's hash in their name; a single file is hashed here.
    for each in "$@"; do
      [[ $each != file:* ]] || sha256sum "$(cut -d: -f2 <<<"$each")"
    done
  } | sha256sum | cut -c1-16)
  archive=$cache/images/$name-$hash.tar
  mkdir -p "$cache/images" "$top/target/images"
  [[ -f $archive ]] || "$program" --output "$archive" --reference "cofferdam.test/$name:dev" --user "$user" "$@"
  ln -sfn "$archive" "$top/target/images/$name.tar"
  echo "$archive"
}

build() {
  local root layer
  case $1 in
    cofferdam)
      static "$binary"
      static "$(dirname "$binary")/kubectl-cofferdam"
      pack cofferdam --entrypoint /cofferdam "file:$binary:/cofferdam:0755" \
        "file:$(dirname "$binary")/kubectl-cofferdam:/kubectl-cofferdam:0755"
      ;;
    cofferdam-runner)
      static "$binary"
      root=$("$here/root.sh" cofferdam-runner)
      # Volumes are mounted below /cofferdam in a sandbox, so that the program has to be elsewhere.
      pack cofferdam-runner --entrypoint /usr/bin/cofferdam --env "PATH=$path" "tar:$root" "file:$binary:/usr/bin/cofferdam:0755"
      ;;
    mini-swe-agent)
      root=$("$here/root.sh" agent)
      layer=$(agent_layer)
      # Without the first it asks its questions of a first start; the others keep it from asking the network about
      # prices that a model of one's own does not have.
      pack mini-swe-agent --command /bin/bash --env "PATH=$path" --env HOME=/home/agent --workdir /workspace \
        --env MSWEA_CONFIGURED=true --env LITELLM_LOCAL_MODEL_COST_MAP=True --env MSWEA_COST_TRACKING=ignore_errors \
        "tar:$root" "tar:$layer"
      ;;
    claude-code | codex | gemini-cli | opencode)
      root=$("$here/root.sh" agent)
      layer=$(npm_layer "$1")
      pack "$1" --command /bin/bash --env "PATH=$path" --env HOME=/home/agent --workdir /workspace "tar:$root" "tar:$layer"
      ;;
    aider | openhands)
      if [[ $1 = openhands ]]; then root=$("$here/root.sh" agent-13); else root=$("$here/root.sh" agent); fi
      layer=$(python_layer "$1" "$root")
      # What it would ask the network about prices, it takes from what came with it.
      pack "$1" --command /bin/bash --env "PATH=$path" --env HOME=/home/agent --workdir /workspace \
        --env LITELLM_LOCAL_MODEL_COST_MAP=True "tar:$root" "tar:$layer"
      ;;
    clients)
      root=$("$here/root.sh" clients)
      layer=$(npm_layer clients)
      debs=$cache/layers/clients-debs-$({ cat "$here"/clients/{debs.sh,suite}; echo "${root##*/}"; } | sha256sum | cut -c1-16).tar
      [[ -f $debs ]] || "$here/clients/debs.sh" "$root" "$debs"
      pack clients --command /bin/bash --env "PATH=$path" --env HOME=/home/agent --workdir /workspace "tar:$root" "tar:$layer" "tar:$debs"
      ;;
    attacker)
      root=$("$here/root.sh" agent)
      layer=$(applets /opt/busybox/bin)
      pack attacker --command /bin/bash --env "PATH=$path:/opt/busybox/bin" --env HOME=/home/agent --workdir /workspace \
        "tar:$root" "tar:$layer"
      ;;
    busybox)
      layer=$(applets /bin)
      pack busybox --command /bin/sh --env PATH=/bin "tar:$layer"
      ;;
    *) fail "there is no image $1" ;;
  esac
}

names=()
binary=
while (($#)); do
  case $1 in
    --binary)
      binary=$(realpath "${2:?--binary needs a path}")
      shift 2
      ;;
    all)
      names+=(cofferdam cofferdam-runner mini-swe-agent attacker busybox)
      shift
      ;;
    *)
      names+=("$1")
      shift
      ;;
  esac
done
((${#names[@]})) || fail "name an image, or all"
for name in "${names[@]}"; do
  if [[ $name = cofferdam || $name = cofferdam-runner ]] && [[ -z $binary ]]; then
    fail "$name needs --binary"
  fi
  build "$name"
done

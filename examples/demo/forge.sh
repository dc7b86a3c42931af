#!/usr/bin/env bash
# Puts what the demo needs into the test cluster's internet: the project with the bug as a git repository, and the
# script of the model that finds it.
#
#   examples/demo/forge.sh STATE/internet
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
internet=$1
"$here/../../tests/fixtures/repository.sh" "$here/project" "$internet/git/demo.git"
mkdir -p "$internet/model"
cp "$here/fix-the-bug.json" "$internet/model/fix-the-bug.json.new"
mv "$internet/model/fix-the-bug.json.new" "$internet/model/fix-the-bug.json"

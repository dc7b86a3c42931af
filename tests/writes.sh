#!/usr/bin/env bash
# Counts the writes that a run cost the API server of the embedded cluster, by user agent.
#
#   tests/writes.sh NAMESPACE SINCE      SINCE as in metadata.creationTimestamp
#
# From the API server's own audit log: every request since then that stored something in the namespace, and frozen
# policies in the operator's. Dry runs, tokens and reviews store nothing.
set -euo pipefail
namespace=${1:?writes.sh NAMESPACE SINCE} since=${2:?writes.sh NAMESPACE SINCE}
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
jq -r --arg namespace "$namespace" --arg since "${since%Z}" '
  select(.requestReceivedTimestamp >= $since and .responseStatus.code < 400)
  | select(.requestURI | contains("dryRun=All") | not)
  | select(.objectRef.subresource != "token" and (.objectRef.resource | endswith("reviews") | not))
  | select(.objectRef.namespace == $namespace
      or (.objectRef.namespace == "cofferdam-system" and .objectRef.resource == "configmaps"))
  | [((.userAgent // "unnamed") | split(" ")[0] | split("/")[0]),
     .verb, .objectRef.resource + (if .objectRef.subresource then "/" + .objectRef.subresource else "" end)]
  | join(" ")' "$state/logs/audit.jsonl" | sort | uniq -c | awk '
  { total[$2] += $1; all += $1; each[$2] = each[$2] ", " $1 " " $3 " " $4 }
  END { for (agent in total) printf "  %4d  %-24s %s\n", total[agent], agent, substr(each[agent], 3) | "sort -rn"
        close("sort -rn"); printf "  %4d  all\n", all; exit all == 0 }'

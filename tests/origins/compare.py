#!/usr/bin/env python3
"""Holds what a server has seen against what the gateway has judged: `compare.py JUDGED SEEN [closes]`.

Each request that was seen was judged, as often. Each one that was judged was seen, unless its body was broken off on its way
(a line `may PREFIX`): how much of such a one arrives is left open, and a server may log it without its name. A server that
`closes` its connection behind a body does not see what follows on it."""

import collections
import sys

judged, broken = collections.Counter(), []
for line in open(sys.argv[1], encoding="utf-8"):
    word, rest = line.rstrip("\n").split(" ", 1)
    if word == "judged":
        judged[rest] += 1
    else:
        broken.append(rest)
seen = collections.Counter(line.rstrip("\n") for line in open(sys.argv[2], encoding="utf-8", errors="replace"))


def is_broken(request):
    return any(f" {prefix}" in request for prefix in broken)


# A broken request of which no head was whole has no name in any log.
nameless = sum(count for request, count in seen.items() if request.strip(" -") == "")
smuggled = {request: count for request, count in (seen - judged).items() if request.strip(" -") != ""}
closes = "closes" in sys.argv[3:]
first_only = (request for request in judged if not closes or request.endswith("/judged"))
lost = {request: (judged - seen)[request] for request in first_only if (judged - seen)[request] and not is_broken(request)}
for what, found in (("seen and not judged", smuggled), ("judged and not seen", lost)):
    for request, count in found.items():
        print(f"{what}: {count} x {request}")
if nameless > 2 * len(broken):
    print(f"{nameless} requests without a name")
print(f"{sum(judged.values())} judged, {sum(seen.values())} seen")
sys.exit(bool(smuggled or lost) or nameless > 2 * len(broken) or not seen)

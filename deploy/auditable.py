#!/usr/bin/env python3
"""Copies a program and writes into it which crates it consists of: `deploy/auditable.py PROGRAM FILE COPY`.

The list stands in the section `.dep-v0`, in the form of cargo-auditable, which scanners of images read (Trivy, Grype, Syft): JSON,
compressed by zlib. Equal programs give equal copies. Needs objcopy."""

import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import sbom


def packages(program):
    """The crates that are linked into a program, as cargo-auditable lists them: sorted, each with its dependencies' places."""
    components, edges, root = sbom.crates(program)
    places = {component["bom-ref"]: place for place, component in enumerate(components)}
    needs = {edge["ref"]: edge["dependsOn"] for edge in edges}
    listed = []
    for component in components:
        reference = component["bom-ref"]
        package = {
            "name": component["name"],
            "version": component["version"],
            "source": "crates.io" if "purl" in component else "local",
        }
        if dependencies := sorted(places[each] for each in needs.get(reference, [])):
            package["dependencies"] = dependencies
        if reference == root:
            package["root"] = True
        listed.append(package)
    return listed


def main():
    program, file, copy = sys.argv[1:] if len(sys.argv) == 4 else sys.exit(__doc__)
    text = json.dumps({"packages": packages(program)}, separators=(",", ":"), sort_keys=True)
    pathlib.Path(copy).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile() as section:
        section.write(zlib.compress(text.encode(), 9))
        section.flush()
        subprocess.run(
            ["objcopy", "--remove-section", ".dep-v0", "--add-section", f".dep-v0={section.name}",
             "--set-section-flags", ".dep-v0=noload,readonly", file, copy],
            check=True,
        )


if __name__ == "__main__":
    main()

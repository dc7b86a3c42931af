#!/usr/bin/env python3
"""Writes a CycloneDX 1.6 bill of materials to standard output.

    deploy/sbom.py binary NAME FILE                what was linked into a program of this workspace
    deploy/sbom.py image NAME ARCHIVE PROGRAM...   what is in an OCI archive: Debian's packages, and programs of this workspace

Crates are those that Cargo links for the target of the release, with the checksums of Cargo.lock; packages are those of dpkg's
own list in the image. Nothing is taken from the time or the machine: equal inputs give equal documents."""

import hashlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import uuid

TOP = pathlib.Path(__file__).resolve().parents[1]
TARGET = "x86_64-unknown-linux-gnu"
LINE = re.compile(r"^(?P<name>[A-Za-z0-9_-]+) v(?P<version>[^ |]+)(?: \([^|]*\))?\|(?P<licence>[^|]*)$")


def cargo(*arguments):
    """What cargo says."""
    return subprocess.run(["cargo", *arguments], cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout


def crates(program):
    """The components that are linked into a program, and what depends on what."""
    packages = {"cofferdam": "cofferdam", "kubectl-cofferdam": "cofferdam-cli"}
    if program not in packages:
        sys.exit(f"sbom.py: {program} is no program of this workspace")
    shown = cargo("tree", "--locked", "--package", packages[program], "--edges", "normal", "--target", TARGET, "--prefix", "none", "--format", "{p}|{l}")
    linked = {}
    for line in shown.splitlines():
        match = LINE.match(line.removesuffix(" (*)"))
        if not match:
            sys.exit(f"sbom.py: cannot read `{line}` of cargo tree")
        linked[match["name"], match["version"]] = match["licence"]
    lock = tomllib.loads((TOP / "Cargo.lock").read_text())["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock}
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    names = {package["id"]: (package["name"], package["version"]) for package in metadata["packages"]}
    components = []
    for (name, version), licence in sorted(linked.items()):
        component = {"type": "library", "bom-ref": reference(name, version), "name": name, "version": version}
        if licence:
            component["licenses"] = [{"expression": licence.replace("/", " OR ")}]
        if checksum := checksums.get((name, version)):
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
            component["purl"] = f"pkg:cargo/{name}@{version}"
        components.append(component)
    edges = []
    for node in metadata["resolve"]["nodes"]:
        if names[node["id"]] in linked:
            normal = [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
            needs = sorted({reference(*names[each]) for each in normal if names[each] in linked})
            edges.append({"ref": reference(*names[node["id"]]), "dependsOn": needs})
    return components, sorted(edges, key=lambda edge: edge["ref"]), reference(packages[program], version_here())


def reference(name, version):
    """By what a crate is named within a document."""
    return f"crate:{name}@{version}"


def version_here():
    """The version of the workspace."""
    return tomllib.loads((TOP / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def layers(archive):
    """The layers of the one image of an OCI archive, lowest first, and the digest of its manifest."""
    with tarfile.open(archive) as tar:
        def blob(digest):
            return tar.extractfile("blobs/" + digest.replace(":", "/")).read()
        index = json.load(tar.extractfile("index.json"))
        digest = index["manifests"][0]["digest"]
        manifest = json.loads(blob(digest))
        while "manifests" in manifest:
            digest = manifest["manifests"][0]["digest"]
            manifest = json.loads(blob(digest))
        return [blob(layer["digest"]) for layer in manifest["layers"]], digest


def packages(blobs):
    """Debian's packages in the layers, by the topmost list of dpkg."""
    status = ""
    for blob in blobs:
        with tarfile.open(fileobj=io.BytesIO(blob)) as layer:
            for member in layer:
                if member.name.removeprefix("./") == "var/lib/dpkg/status" and member.isfile():
                    status = layer.extractfile(member).read().decode()
    components = []
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+): (.*)$", stanza))
        if fields.get("Status", "").endswith(" installed"):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
            components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return sorted(components, key=lambda component: component["bom-ref"])


def document(component, components, dependencies):
    """The whole document. Its serial number follows from its content."""
    text = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component, "properties": [{"name": "cofferdam.dev/target", "value": TARGET}]},
        "components": components,
        "dependencies": dependencies,
    }
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()
    return {**text, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}"}


def main():
    kind, name, file, *programs = sys.argv[1:] if len(sys.argv) > 3 else sys.exit(__doc__)
    version = version_here()
    component = {"bom-ref": f"{kind}:{name}", "name": name, "version": version}
    if kind == "binary":
        linked, edges, root = crates(name)
        digest = hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
        component |= {"type": "application", "hashes": [{"alg": "SHA-256", "content": digest}]}
        edges.insert(0, {"ref": component["bom-ref"], "dependsOn": [root]})
    elif kind == "image" and programs:
        blobs, digest = layers(file)
        component |= {"type": "container", "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]}
        found, needs, roots = {}, {}, []
        for program in programs:
            linked, edges, root = crates(program)
            roots.append(root)
            found |= {each["bom-ref"]: each for each in linked}
            for edge in edges:
                needs.setdefault(edge["ref"], set()).update(edge["dependsOn"])
        debian = packages(blobs)
        linked = [found[key] for key in sorted(found)] + debian
        edges = [{"ref": key, "dependsOn": sorted(needs[key])} for key in sorted(needs)]
        edges.insert(0, {"ref": component["bom-ref"], "dependsOn": roots + [each["bom-ref"] for each in debian]})
    else:
        sys.exit(__doc__)
    json.dump(document(component, linked, edges), sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()

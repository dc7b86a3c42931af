#!/usr/bin/env python3
"""Pins what a requirements.in asks for, with everything that it needs, into the requirements.txt beside it.

    images/lock.py DIRECTORY

Every package gets its version and the hash of its wheel for CPython 3.11 on x86-64 Linux, the Python of Debian 12, or of the
version that a comment "# python: 3.13" in requirements.in names.
A comment "# without: NAME ..." in requirements.in leaves these packages out, and what only they need. "# source: NAME ..." says
of packages that they have no wheel: they are pinned by the hash of their source, which must be plain Python.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

TARGET = [
    "--implementation", "cp", "--only-binary", ":all:",
    "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64",
]


def plain(name: str) -> str:
    """The name as packages are compared: Foo.bar_baz is foo-bar-baz."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(package: dict) -> set[str]:
    """What a package needs, leaving its extras out: an extra that was asked for brings its packages by itself."""
    requirements = package["metadata"].get("requires_dist", [])
    return {plain(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in requirements if "extra ==" not in line}


def reachable(packages: dict[str, dict], start: set[str], without: set[str]) -> set[str]:
    """All packages that can be reached without passing one that is left out."""
    found, todo = set(), list(start)
    while todo:
        name = todo.pop()
        if name in found or name in without or name not in packages:
            continue
        found.add(name)
        todo.extend(needed(packages[name]))
    return found


def sources(names: list[str], directory: pathlib.Path) -> dict[str, str]:
    """Builds the wheels of packages that have none into the directory, and gives the hashes of their sources."""
    hashes = {}
    for name in names:
        archives = directory / name
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(archives), name], check=True)
        archive = next(archives.iterdir())
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(archive)], check=True)
        hashes[plain(name)] = hashlib.sha256(archive.read_bytes()).hexdigest()
    return hashes


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    asked = directory / "requirements.in"
    without, python, source = set(), "3.11", []
    for line in asked.read_text().splitlines():
        if line.startswith("# python:"):
            python = line.removeprefix("# python:").strip()
        if line.startswith("# source:"):
            source += line.removeprefix("# source:").split()
        if line.startswith("# without:"):
            without |= {plain(name) for name in line.removeprefix("# without:").split()}
    built = tempfile.TemporaryDirectory()
    by_source = sources(source, pathlib.Path(built.name))
    report = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-",
         "--find-links", built.name, "--target", "/nonexistent", "--python-version", python, *TARGET, "--requirement", str(asked)],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    installs = json.loads(report)["install"]
    packages = {plain(package["metadata"]["name"]): package for package in installs}
    start = {name for name, package in packages.items() if package["requested"]}
    lines = [f"# Made by images/lock.py from {asked.name}; not to be edited."]
    # What a package asks of another one's extras is not followed: with nothing to leave out, all stay.
    for name in sorted(reachable(packages, start, without) if without else packages):
        package = packages[name]
        digest = by_source.get(name) or package["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={package['metadata']['version']} --hash=sha256:{digest}")
    (directory / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Takes fenced blocks out of the documentation.

    tests/docs/blocks.py yaml DIRECTORY   writes each object of the YAML blocks to a file of its own, and prints each file with the page
                                          and line that it comes from
    tests/docs/blocks.py shell NAME       prints the commands of the block below the comment <!-- tests/docs: NAME -->

A YAML block without `kind` is a part of an object, and is left out. Of a block that shows a terminal (`$ ` before its commands) the
commands alone are printed."""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
MARK = re.compile(r"<!-- tests/docs: ([a-z-]+) -->")


def blocks():
    """Each fenced block: its page, the line of its first line, its language, its mark and its lines."""
    for page in PAGES:
        mark, language, lines, start = None, None, [], 0
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if language is None:
                if line.startswith("```"):
                    language, lines, start = line[3:].strip(), [], number + 1
                elif line.strip():
                    found = MARK.fullmatch(line.strip())
                    mark = found[1] if found else None
            elif line == "```":
                yield page.relative_to(TOP), start, language, mark, lines
                mark, language = None, None
            else:
                lines.append(line)


def objects(directory):
    """The objects of YAML blocks, and those that a shell block hands to kubectl in a here-document."""
    directory = pathlib.Path(directory)
    count = 0
    for page, start, language, _, lines in blocks():
        document, at = [], start
        for number, line in enumerate([*lines, "---"], start):
            if line != "---":
                document.append(line)
                continue
            text = "\n".join(document) + "\n"
            if language == "yaml" and re.search(r"^apiVersion: ", text, re.M) and re.search(r"^kind: ", text, re.M):
                count += 1
                file = directory / f"{count:03}.yaml"
                file.write_text(text)
                print(f"{file} {page}:{at}")
            document, at = [], number + 1


def shell(name):
    """The commands of a marked block."""
    found = [lines for _, _, _, mark, lines in blocks() if mark == name]
    if len(found) != 1:
        sys.exit(f"blocks.py: {len(found)} blocks are marked {name}")
    commands = found[0]
    if any(line.startswith("$ ") for line in commands):
        commands = [line[2:] for line in commands if line.startswith("$ ")]
    print("\n".join(commands))


match sys.argv[1:]:
    case ["yaml", directory]:
        objects(directory)
    case ["shell", name]:
        shell(name)
    case _:
        sys.exit(__doc__)

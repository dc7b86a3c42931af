#!/usr/bin/env python3
"""Takes the comments of the chart's values.yaml, `# -- …`, into values.schema.json and README.md.

`values.py` exits 1 with the difference if either is not current; `values.py --update` writes both. A value needs a comment,
its own or that of the value which it is a part of, and a property of the schema, and the other way round."""

import difflib
import json
import pathlib
import re
import sys

CHART = pathlib.Path(__file__).resolve().parents[2] / "charts/cofferdam"
KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(?: (.*))?$")


def described(lines):
    """Each value with a comment, as (path, default, comment); below such a value nothing is read."""
    found, comment, stack, inside = [], None, [], None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("#"):
            if inside is not None and len(line) - len(line.lstrip()) > inside:
                continue
            if text.startswith("# -- "):
                comment = [text[5:]]
            elif comment is not None:
                comment.append(text[1:].strip())
            continue
        if not text:
            comment = None
            continue
        indent = len(line) - len(line.lstrip())
        if inside is not None and indent > inside:
            continue
        inside = None
        match = KEY.match(line)
        if not match:
            sys.exit(f"values.yaml:{number}: only `key:` is understood outside of a value with a comment")
        stack = [entry for entry in stack if entry[0] < indent]
        stack.append((indent, match[2]))
        path = ".".join(name for _, name in stack)
        if comment is not None:
            found.append((path, match[3], " ".join(comment)))
            inside, comment = indent, None
        elif match[3] is not None:
            sys.exit(f"values.yaml:{number}: {path} has no comment `# -- …`")
    return found


def of_schema(schema, definitions, path=""):
    """Each property that has none below it, with its schema, by path."""
    for name, below in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        target = definitions[below["$ref"].rsplit("/", 1)[-1]] if "$ref" in below else below
        if "properties" in target:
            yield from of_schema(target, definitions, here)
        else:
            yield here, below


def with_descriptions(schema, values):
    """The schema with the comments as descriptions. What several paths share by $ref gets the comment of the first."""
    leaves = list(of_schema(schema, schema["definitions"]))
    known, wanted = {path for path, _, _ in values}, {path for path, _ in leaves}
    for path in sorted(wanted - known):
        sys.exit(f"values.schema.json has {path}, which has no comment in values.yaml")
    for path in sorted(known - wanted):
        sys.exit(f"values.yaml has {path}, which values.schema.json does not have")
    comments, done = {path: comment for path, _, comment in values}, set()
    for path, leaf in leaves:
        if id(leaf) in done:
            continue
        done.add(id(leaf))
        rest = dict(leaf)
        rest.pop("description", None)
        leaf.clear()
        leaf["description"] = comments[path]
        leaf.update(rest)
    return schema


def compact(value, indent=0):
    """JSON of which each line is short enough to read."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(line) + indent <= 118:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key)}: {compact(below, indent + 2)}" for key, below in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    rows = [pad + compact(below, indent + 2) for below in value]
    return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"


def readme(values):
    """The page of the chart."""
    rows = []
    for path, default, comment in values:
        shown = f"`{default}`" if default is not None else "see [values.yaml](values.yaml)"
        rows.append("| `{}` | {} | {} |".format(path, shown, comment).replace("||", "\\|\\|"))
    return (CHART / "README.md.tmpl").read_text() + "\n".join(rows) + "\n"


def main():
    values = described((CHART / "values.yaml").read_text().splitlines())
    schema = json.loads((CHART / "values.schema.json").read_text())
    wanted = {
        CHART / "values.schema.json": compact(with_descriptions(schema, values)) + "\n",
        CHART / "README.md": readme(values),
    }
    stale = False
    for path, text in wanted.items():
        if sys.argv[1:] == ["--update"]:
            path.write_text(text)
            continue
        has = path.read_text() if path.exists() else ""
        if has != text:
            stale = True
            sys.stdout.writelines(difflib.unified_diff(has.splitlines(True), text.splitlines(True), str(path), "from values.yaml"))
    if stale:
        sys.exit("run tests/chart/check.sh --update")


main()

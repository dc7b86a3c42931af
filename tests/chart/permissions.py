#!/usr/bin/env python3
"""Writes docs/permissions.md from what the chart renders: each rule with the comment that stands before it.

`permissions.py RENDERED` exits 1 with the difference if the page is not current; `permissions.py RENDERED --update` writes
it. A rule needs a comment, its own or that of its role."""

import difflib
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/permissions.md"
INTRO = """# Permissions

Generated from the chart's roles and the comments in them by `tests/chart/check.sh --update`; a test holds this page to the
chart. RBAC is only half of it: [admission.md](admission.md) lists what the guard refuses to the controller too, and
[access.md](access.md) whom to give which role.

"""
# Roles that nobody is bound to by the chart: who gets them, and how.
UNBOUND = {
    "cofferdam-view": "users with the cluster's role `view`, by aggregation",
    "cofferdam-output-view": "users with the cluster's role `view`, by aggregation",
    "cofferdam-edit": "users with the cluster's roles `edit` or `admin`, by aggregation",
    "cofferdam-user": "users to whom you bind it, with a RoleBinding in a namespace",
    "cofferdam-ceiling-view": "users to whom you bind it, with a ClusterRoleBinding",
}


def fail(words):
    sys.exit(f"permissions.py: {words}")


def listed(text):
    """The items of a flow list, or a text as it is."""
    text = text.strip()
    return [item.strip().strip('"') for item in text[1:-1].split(",")] if text.startswith("[") else [text.strip('"')]


def document(text):
    """Kind, name, namespace, comment, and rules or subjects of one rendered document."""
    found = {"comment": [], "rules": [], "subjects": [], "namespace": None, "test": "helm.sh/hook: test" in text}
    section, comment, key, started = None, [], None, False
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            if not bare.startswith("# Source:"):
                (comment if started else found["comment"]).append(bare.lstrip("# "))
            continue
        if not bare:
            continue
        started = True
        top = re.match(r"^(\w+):(.*)$", line)
        if top:
            section, comment = top[1], []
            if top[1] == "kind":
                found["kind"] = top[2].strip()
            if top[1] == "roleRef":
                found["role"] = re.search(r"name: ([\w:.-]+)", top[2])[1]
            continue
        if section == "metadata" and (field := re.match(r"^  (name|namespace): (.*)$", line)):
            found[field[1]] = field[2].strip('"')
        if section == "subjects" and (subject := re.search(r"kind: (\w+), name: \"?([\w:.-]+)", line)):
            found["subjects"].append(f"{subject[1]} `{subject[2]}`")
        if section == "rules":
            if bare.startswith("- ") and line.startswith("  - "):
                found["rules"].append({"comment": " ".join(comment)})
                comment, bare = [], bare[2:]
            if field := re.match(r"^(\w+):(.*)$", bare):
                key = field[1]
                found["rules"][-1][key] = listed(field[2]) if field[2].strip() else []
            elif bare.startswith("- "):
                found["rules"][-1][key].append(bare[2:].strip('"'))
            else:
                fail(f"cannot read `{line}` of {found.get('kind')} {found.get('name')}")
    return found


def row(role, rule):
    """One line of a table."""
    comment = rule["comment"] or (role["comment"] and "see above")
    if not comment:
        fail(f"a rule of {role['kind']} {role['name']} has no comment: {rule}")
    if "nonResourceURLs" in rule:
        on = ", ".join(f"`{url}`" for url in rule["nonResourceURLs"])
    else:
        groups = [group for group in rule["apiGroups"] if group]
        on = ", ".join(f"`{resource}`" for resource in rule["resources"])
        on += f" of {', '.join(groups)}" if groups else ""
        if "resourceNames" in rule:
            on += ", only " + ", ".join(f"`{name}`" for name in rule["resourceNames"])
    return f"| {', '.join(rule['verbs'])} | {on} | {comment} |"


def is_bound(role, bindings):
    """Whether the chart itself binds a role to somebody in the whole cluster."""
    return any(binding["role"] == role["name"] and binding["kind"] == "ClusterRoleBinding" for binding in bindings)


def page(documents):
    """The page."""
    roles = [found for found in documents if found["kind"] in ("ClusterRole", "Role")]
    bindings = [found for found in documents if found["kind"].endswith("Binding") and "role" in found]
    parts = [INTRO]
    for heading, test in (("The roles of the release", False), ("While `helm test` runs", True)):
        parts.append(f"## {heading}\n\n")
        for role in sorted((role for role in roles if role["test"] == test), key=lambda role: (role["name"], role["kind"], role["namespace"] or "")):
            where = f" in the namespace `{role['namespace']}`" if role["namespace"] else " in all namespaces" if is_bound(role, bindings) else ""
            subjects = [
                subject
                for binding in bindings
                if binding["role"] == role["name"] and (role["kind"] == "ClusterRole") == (binding["kind"] == "ClusterRoleBinding") and binding["namespace"] == role["namespace"]
                for subject in binding["subjects"]
            ]
            who = ", ".join(subjects) or UNBOUND.get(role["name"], "users to whom you bind it")
            parts.append(f"### {role['kind']} `{role['name']}`{where}\n\n")
            if role["comment"]:
                parts.append(" ".join(role["comment"]) + "\n\n")
            parts.append(f"Who: {who}.\n\n| may | on | why |\n|---|---|---|\n")
            parts.append("\n".join(row(role, rule) for rule in role["rules"]) + "\n\n")
    own = {(role["kind"], role["name"]) for role in roles}
    parts.append("## Roles of Kubernetes that the release binds\n\n| role | in | who | why |\n|---|---|---|---|\n")
    for binding in bindings:
        if not any(name == binding["role"] for _, name in own):
            comment = " ".join(binding["comment"]) or fail(f"{binding['kind']} {binding['name']} has no comment")
            parts.append(f"| `{binding['role']}` | `{binding['namespace']}` | {', '.join(binding['subjects'])} | {comment} |\n")
    return "".join(parts).rstrip("\n") + "\n"


def main():
    rendered = pathlib.Path(sys.argv[1]).read_text()
    documents = [document(text) for text in re.split(r"(?m)^---$", rendered) if re.search(r"(?m)^kind: (Cluster)?Role(Binding)?$", text)]
    text = page(documents)
    if sys.argv[2:] == ["--update"]:
        PAGE.write_text(text)
        return
    has = PAGE.read_text() if PAGE.exists() else ""
    if has != text:
        sys.stdout.writelines(difflib.unified_diff(has.splitlines(True), text.splitlines(True), str(PAGE), "from the chart"))
        sys.exit("run tests/chart/check.sh --update")


main()

"""Holds events to the published schema of OCSF: ocsf-json-schema from PyPI brings it as the project's own server exports it.

    check.py EVENTS
"""

import copy
import functools
import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
SCHEMA = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
# Those that an attribute names besides its own value.
CLASSES = {0, 2004, 4001, 4002, 6003}

passed = failed = 0


def check(what: str, holds: bool, said: object = "") -> None:
    global passed, failed
    passed, failed = passed + holds, failed + (not holds)
    if not holds:
        print(f"FAILED: {what} {said}")


@functools.cache
def validator(class_uid: int, profiles: tuple) -> Draft202012Validator:
    name = SCHEMA.lookup_class_name_from_uid(class_uid)
    return Draft202012Validator(SCHEMA.get_class_schema(class_name=name, profiles=list(profiles)))


def faults(event: dict) -> list[str]:
    """What the schema finds in an event: a missing attribute, one of another name or kind, a value that is none."""
    found = validator(event["class_uid"], tuple(event["metadata"]["profiles"])).iter_errors(event)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


def main() -> None:
    events = [json.loads(line) for line in open(sys.argv[1])]
    for number, event in enumerate(events, 1):
        check(f"event {number} ({event['metadata']['event_code']}) is what the schema says", not faults(event), faults(event))
        check(f"event {number} says by which version", event["metadata"]["version"] == VERSION)
        check(f"event {number} has the type of its class and activity", event["type_uid"] == event["class_uid"] * 100 + event["activity_id"])
    check("there is an event of each class", {event["class_uid"] for event in events} == CLASSES)
    request = next(event for event in events if event["class_uid"] == 4002)

    def spoilt(**change: object) -> bool:
        event = copy.deepcopy(request) | change
        return bool(faults({name: value for name, value in event.items() if value is not None}))

    check("an attribute that the class does not have is found", spoilt(hostname="a.test"))
    check("a missing one is found", spoilt(time=None))
    check("a number of no meaning is found", spoilt(severity_id=42))
    check("a text in the place of a number is found", spoilt(count="2"))
    check("an endpoint that names nothing is found", spoilt(dst_endpoint={"port": 443}))
    check("an address that is none is found", spoilt(dst_endpoint={"ip": "nowhere"}))
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()

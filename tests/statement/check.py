"""Verifies a run's statement with the libraries of the specifications' own authors: securesystemslib (DSSE) and
in-toto-attestation (the schemas of Statement and SLSA provenance). With an export of the run also the Sigstore bundle, by
sigstore-models (the names and kinds of Sigstore's protobuf, and no others).

    check.py STATEMENT KEYS [EXPORT]
"""

import base64
import copy
import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from sigstore_models.bundle.v1 import Bundle

passed = failed = 0


def check(what: str, holds: bool) -> None:
    global passed, failed
    passed, failed = passed + holds, failed + (not holds)
    if not holds:
        print(f"FAILED: {what}")


def verifies(envelope: dict, keys: list) -> bool:
    try:
        return len(Envelope.from_dict(copy.deepcopy(envelope)).verify(keys, 1)) == 1
    except VerificationError:
        return False


def is_valid(statement: dict) -> bool:
    """Every field has the name and the kind that the schemas give it, and none is unknown."""
    try:
        message = ParseDict(statement, StatementMessage())
        Statement.copy_from_pb(message).validate()
        ParseDict(statement["predicate"], Provenance())
    except (ParseError, ValueError):
        return False
    return True


def is_bundle(bundle: dict) -> bool:
    try:
        Bundle.from_json(json.dumps(bundle))
    except ValueError:
        return False
    return True


def check_export(export: pathlib.Path, envelope: dict, statement: dict) -> None:
    bundle = json.loads((export / "statement.sigstore.json").read_text())
    check("the bundle is what Sigstore says", is_bundle(bundle))
    check("and would not be with a field of another name", not is_bundle(bundle | {"dsse": {}}))
    check("nor without its key", not is_bundle(bundle | {"verificationMaterial": {"tlogEntries": []}}))
    check("it has the envelope of the archive", bundle["dsseEnvelope"] == envelope)
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    check("its hint is the key of the signature", hint == envelope["signatures"][0]["keyid"])
    key = load_pem_public_key((export / "statement.pub").read_bytes())
    check("the key beside it verifies it", verifies(envelope, [SSlibKey.from_crypto(key, hint, "ed25519")]))
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    for patch in (export / "patches").iterdir():
        check(f"{patch.name} is a subject", subjects.get(patch.name) == hashlib.sha256(patch.read_bytes()).hexdigest())


def main() -> None:
    envelope, published = (json.load(open(path)) for path in sys.argv[1:3])
    keys = [
        SSlibKey.from_crypto(load_pem_public_key(key["publicKey"].encode()), key["keyId"], "ed25519")
        for key in published["keys"]
    ]
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    check("the envelope verifies", verifies(envelope, keys))
    changed = base64.b64encode(payload.replace(b"Completed", b"Cancelled", 1)).decode()
    check("and not with another payload", not verifies(envelope | {"payload": changed}, keys))
    check("nor as another type", not verifies(envelope | {"payloadType": "application/json"}, keys))
    check("nor without its key", not verifies(envelope, [SSlibKey(k.keyid[::-1], k.keytype, k.scheme, k.keyval) for k in keys]))
    check("statement and predicate are what the schemas say", is_valid(statement))
    check("and would not be with a field of another name", not is_valid(statement | {"subjects": []}))
    check("nor without a subject", not is_valid(statement | {"subject": []}))
    spoilt = copy.deepcopy(statement)
    spoilt["predicate"]["runDetails"]["builder"]["version"] = 1
    check("nor with a predicate of another kind", not is_valid(spoilt))
    if len(sys.argv) > 3:
        check_export(pathlib.Path(sys.argv[3]), envelope, statement)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()

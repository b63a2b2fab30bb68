#!/usr/bin/env python3
"""Makes the demo's patients from a directory of Synthea's FHIR output; see README.md. Usage: pick.py SYNTHEA_FHIR_DIR"""

import glob
import gzip
import json
import os
import re
import sys

PATIENTS = {"lindsey": "Lindsey52_", "nicholas": "Nicholas495_", "weston": "Weston546_", "cedric": "Cedric746_"}
LIMIT = 150
# How many of each type are tried, newest first; whatever they refer to comes along.
QUOTA = [
    ("AllergyIntolerance", 8), ("Condition", 18), ("MedicationRequest", 10), ("Device", 4), ("Immunization", 6),
    ("CarePlan", 2), ("CareTeam", 2), ("DiagnosticReport", 7), ("Observation", 42), ("Procedure", 12),
    ("ImagingStudy", 2), ("MedicationAdministration", 1), ("DocumentReference", 2), ("Claim", 2),
    ("ExplanationOfBenefit", 1), ("SupplyDelivery", 1),
]
DATES = ["effectiveDateTime", "onsetDateTime", "authoredOn", "occurrenceDateTime", "started", "recordedDate", "date",
         "created", "issued", "manufactureDate"]


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "reference" and isinstance(value, str):
                yield node
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def when(resource):
    period = resource.get("performedPeriod") or resource.get("period") or resource.get("billablePeriod") or {}
    dates = [resource[d] for d in DATES if d in resource] + [period.get("start", "")]
    return dates[0]


def load(path, known, by_identifier):
    entries = json.load(open(path))["entry"]
    for entry in entries:
        resource = entry["resource"]
        key = f"{resource['resourceType']}/{resource['id']}"
        known[key] = resource
        known[entry["fullUrl"]] = resource
        for identifier in resource.get("identifier", []):
            if "system" in identifier:
                by_identifier[f"{resource['resourceType']}?identifier={identifier['system']}|{identifier['value']}"] = resource
    return [entry["resource"] for entry in entries]


def main(directory):
    known, by_identifier = {}, {}
    for name in ["hospitalInformation", "practitionerInformation"]:
        load(glob.glob(f"{directory}/{name}*.json")[0], known, by_identifier)
    for name, prefix in PATIENTS.items():
        resources = load(glob.glob(f"{directory}/{prefix}*.json")[0], known, by_identifier)
        resolve(resources, known, by_identifier)
        resolve(list(known.values()), known, by_identifier)
        chosen = choose(resources, known)
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.ndjson.gz")
        lines = "".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in order(chosen))
        with open(path, "wb") as out:
            # No time and no name in the header, so that the same input gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=9, mtime=0) as packed:
                packed.write(lines.encode())
        print(name, len(chosen), "resources,", os.path.getsize(path), "bytes")


def resolve(resources, known, by_identifier):
    for resource in resources:
        for holder in references(resource):
            text = holder["reference"]
            target = known.get(text) or by_identifier.get(text)
            if target:
                holder["reference"] = f"{target['resourceType']}/{target['id']}"


def closure(resource, known, have):
    found, waiting = {}, [resource]
    while waiting:
        one = waiting.pop()
        key = f"{one['resourceType']}/{one['id']}"
        if key in have or key in found:
            continue
        found[key] = one
        for holder in references(one):
            if holder["reference"].startswith("#"):
                continue
            if holder["reference"] not in known:
                return None
            waiting.append(known[holder["reference"]])
    return found


def choose(resources, known):
    have = closure(resources[0], known, {})
    for kind, count in QUOTA:
        newest = sorted((r for r in resources if r["resourceType"] == kind), key=when, reverse=True)
        for resource in newest[:count]:
            more = closure(resource, known, have)
            if more is not None and len(have) + len(more) <= LIMIT:
                have.update(more)
    return have


def order(chosen):
    out, done = [], set()

    def put(key, path):
        if key in done or key in path:
            return
        for holder in references(chosen[key]):
            if not holder["reference"].startswith("#"):
                put(holder["reference"], path | {key})
        done.add(key)
        out.append(chosen[key])

    first = re.compile("^(Organization|Practitioner|Location)/")
    for key in sorted(chosen, key=lambda k: (not first.match(k), not k.startswith("Patient/"), when(chosen[k]), k)):
        put(key, frozenset())
    return out


if __name__ == "__main__":
    main(sys.argv[1])

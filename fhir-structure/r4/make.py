#!/usr/bin/env python3
"""Makes structure.txt, R4's structure as `vouchsafe-fhir-structure` reads it, from HL7's own definitions.

    make.py profiles-types.xml profiles-resources.xml > structure.txt

The two files are HL7's FHIR R4 (4.0.1) definitions, as the Maven artifact
ca.uhn.hapi.fhir:hapi-fhir-validation-resources-r4 carries them under org/hl7/fhir/r4/model/profile/.
A type begins with its name; each of its elements follows as ` name min max type…`, where a type `@path` is the block of
elements under that path, and a name that ends in `[x]` is a choice.
"""
import sys
import xml.etree.ElementTree as xml

NS = {"f": "http://hl7.org/fhir"}


def value(node, path):
    found = node.find(path, NS)
    return None if found is None else found.get("value")


def definitions(files):
    for file in files:
        for resource in xml.parse(file).getroot().iterfind("f:entry/f:resource/f:StructureDefinition", NS):
            # Profiles constrain what a type already is; only the types themselves are wanted.
            if value(resource, "f:derivation") == "constraint" or value(resource, "f:kind") == "logical":
                continue
            yield resource


def types_of(element, path, parents):
    reference = value(element, "f:contentReference")
    if reference:
        return ["@" + reference.removeprefix("#")]
    if path in parents:
        return ["@" + path]
    codes = []
    for kind in element.iterfind("f:type", NS):
        code = value(kind, "f:code")
        codes.append("string" if code.startswith("http://hl7.org/fhirpath/") else code)
    return codes


def main():
    blocks, resources, primitives = {}, [], []
    for definition in definitions(sys.argv[1:]):
        name, kind = value(definition, "f:type"), value(definition, "f:kind")
        if kind == "primitive-type":
            primitives.append(name)
            continue
        if kind == "resource" and value(definition, "f:abstract") != "true":
            resources.append(name)
        elements = definition.findall("f:snapshot/f:element", NS)
        paths = [value(e, "f:path") for e in elements]
        parents = {p.rsplit(".", 1)[0] for p in paths if "." in p}
        for element, path in zip(elements, paths):
            if "." not in path:
                continue
            parent, member = path.rsplit(".", 1)
            low, high = value(element, "f:min"), value(element, "f:max")
            line = " ".join([member, low, high, *types_of(element, path, parents)])
            blocks.setdefault(parent, []).append(line)
    print("resources " + " ".join(sorted(resources)))
    print("primitives " + " ".join(sorted(primitives)))
    for name in sorted(blocks):
        print(name)
        for line in blocks[name]:
            print(" " + line)


main()

#!/usr/bin/env python3
"""Makes the tables that `vouchsafe-fhir-search` reads, from HL7's own definitions.

    make.py search-parameters.json profiles-types.xml profiles-resources.xml valuesets.xml OUT_DIRECTORY

The files are HL7's FHIR R4 (4.0.1) definitions, as the Maven artifact
ca.uhn.hapi.fhir:hapi-fhir-validation-resources-r4:7.4.0 carries them under org/hl7/fhir/r4/model/sp/, …/profile/ and …/valueset/.

parameters.txt    `url code type` begins a definition; below it ` base Type…`, ` target Type…` when it is a reference,
                  ` system url Type…` where its elements in these types are codes that R4 requires to be of one code system,
                  ` component url expression` for each part of a composite, and ` = expression`. In order of the
                  addresses: a definition's place in it is the number that facts are filed under, and must not change.
compartments.txt  `compartment Name`, then ` Type code…` for each type that is in it.
elements.txt      `Type`, then ` summary element…` and ` mandatory element…`: its top-level elements that R4 marks as summary,
                  and those that must be there. A name that ends in `[x]` is a choice.
"""
import json
import pathlib
import sys
import xml.etree.ElementTree as xml

NS = {"f": "http://hl7.org/fhir"}

SEARCH = "http://hl7.org/fhir/SearchParameter/"

# Of a definition, HL7's text (an expression; of a component its definition and expression), what it ought to be, and why.
FIXES = {
    (
        "Observation-code-value-date",
        SEARCH + "Observation-value-date value.as(DateTime) | value.as(Period)",
    ): (
        SEARCH + "Observation-value-date value.as(dateTime) | value.as(Period)",
        "R4 has no type DateTime; Observation.value[x] may be a dateTime, as value-date itself has it.",
    ),
    ("InsurancePlan-name", "name | alias"): (
        "InsurancePlan.name | InsurancePlan.alias",
        "All other expressions begin with the type that they look at.",
    ),
    ("DocumentReference-relationship", SEARCH + "DocumentReference-relatesto code"): (
        SEARCH + "DocumentReference-relation code",
        "The code is a token, as relation is; relatesto is the reference. The two definitions are exchanged.",
    ),
    ("DocumentReference-relationship", SEARCH + "DocumentReference-relation target"): (
        SEARCH + "DocumentReference-relatesto target",
        "The other half of the same exchange.",
    ),
}


def value(node, path):
    found = node.find(path, NS)
    return None if found is None else found.get("value")


def fixed(url, text, used):
    key = (url.removeprefix(SEARCH), text)
    if key not in FIXES:
        return text
    used.add(key)
    return FIXES[key][0]


class Systems:
    """Which code system R4 requires the codes at the end of a path to be of."""

    def __init__(self, profiles, valuesets):
        self.elements, self.sets = {}, {}
        for root in profiles:
            for definition in root.iterfind("f:entry/f:resource/f:StructureDefinition", NS):
                if value(definition, "f:derivation") != "constraint":
                    for element in definition.iterfind("f:snapshot/f:element", NS):
                        self.elements[value(element, "f:path")] = element
        for valueset in valuesets.iterfind("f:entry/f:resource/f:ValueSet", NS):
            includes = valueset.findall("f:compose/f:include", NS)
            self.sets[value(valueset, "f:url")] = {value(include, "f:system") for include in includes}

    def element(self, path):
        """The element at the end of a path of names, through the types of those on the way."""
        at = path[0]
        for name in path[1:]:
            if f"{at}.{name}" not in self.elements:
                element = self.elements[at]
                reference = value(element, "f:contentReference")
                at = reference.removeprefix("#") if reference else value(element, "f:type/f:code")
            at = f"{at}.{name}"
            if at not in self.elements:
                return None
        return self.elements[at]

    def of_path(self, path):
        if not path.replace(".", "").isalnum():
            return None
        element = self.element(path.split("."))
        if element is None or [t.get("value") for t in element.iterfind("f:type/f:code", NS)] != ["code"]:
            return None
        if value(element, "f:binding/f:strength") != "required":
            return None
        systems = self.sets.get(value(element, "f:binding/f:valueSet").split("|")[0], set())
        return next(iter(systems)) if len(systems) == 1 else None

    def of(self, parameter):
        """For each system the types in which all elements of a parameter have it."""
        paths = [path.strip() for path in parameter["expression"].split("|")]
        found = {}
        for base in parameter["base"]:
            systems = {self.of_path(path) for path in paths if path.startswith(base + ".")}
            if len(systems) == 1 and systems != {None}:
                found.setdefault(systems.pop(), []).append(base)
        return sorted(found.items())


def parameters(file, systems):
    used = set()
    entries = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))["entry"]
    for parameter in sorted((e["resource"] for e in entries), key=lambda p: p["url"]):
        expression = parameter.get("expression")
        if expression is None:
            # _text, _content and _query: full text and named queries, which look at no element.
            continue
        url = parameter["url"]
        yield f"{url} {parameter['code']} {parameter['type']}"
        yield " base " + " ".join(parameter["base"])
        if parameter.get("target"):
            yield " target " + " ".join(parameter["target"])
        if parameter["type"] == "token":
            for system, types in systems.of(parameter):
                yield " ".join([" system", system, *types])
        for part in parameter.get("component", []):
            yield " component " + fixed(url, f"{part['definition']} {part['expression']}", used)
        yield " = " + fixed(url, expression, used)
    unused = FIXES.keys() - used
    if unused:
        sys.exit(f"these fixes fit nothing: {unused}")


def compartments(root):
    definitions = root.iterfind("f:entry/f:resource/f:CompartmentDefinition", NS)
    for definition in sorted(definitions, key=lambda d: value(d, "f:code")):
        name = value(definition, "f:code")
        yield f"compartment {name}"
        for resource in definition.iterfind("f:resource", NS):
            kind = value(resource, "f:code")
            # `{def}` stands for the resource that the compartment is named after.
            codes = [p.get("value") for p in resource.iterfind("f:param", NS) if p.get("value") != "{def}"]
            if codes or kind == name:
                yield " ".join(["", kind, *codes])


def elements(root):
    for definition in root.iterfind("f:entry/f:resource/f:StructureDefinition", NS):
        if value(definition, "f:derivation") == "constraint" or value(definition, "f:kind") != "resource":
            continue
        if value(definition, "f:abstract") == "true":
            continue
        summary, mandatory = [], []
        for element in definition.iterfind("f:snapshot/f:element", NS):
            name = value(element, "f:path").split(".")[1:]
            if len(name) != 1:
                continue
            if value(element, "f:isSummary") == "true":
                summary += name
            if value(element, "f:min") != "0":
                mandatory += name
        yield value(definition, "f:type")
        yield " ".join([" summary", *summary])
        yield " ".join([" mandatory", *mandatory])


def main():
    file, types, resources, valuesets, out = sys.argv[1:]
    types, resources, valuesets = (xml.parse(f).getroot() for f in (types, resources, valuesets))
    made = {
        "parameters.txt": parameters(file, Systems([types, resources], valuesets)),
        "compartments.txt": compartments(resources),
        "elements.txt": elements(resources),
    }
    for name, lines in made.items():
        text = "".join(line + "\n" for line in lines)
        pathlib.Path(out, name).write_text(text, encoding="utf-8")


main()

//! The categories that consent is given in: a versioned table maps every record to exactly one.
//!
//! The table is data, `schemas/fhir/category-table.v1.json`: rules in order, the first that fits decides, sensitive
//! before emergency before clinical. A rule's codes are looked for anywhere in the resource, labels included, because
//! a diagnosis given as the reason of a visit tells as much as the diagnosis itself.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::LazyLock,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use super::{Coding, systems};

/// How a category is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Only by name.
    Sensitive,
    /// What break-glass reaches.
    Emergency,
    /// Everything else.
    Clinical,
}

macro_rules! categories {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $tier:ident, $display:literal;)*) => {
        /// A category of records.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Category { $($(#[$doc])* $name,)* }

        impl Category {
            /// Every category, sensitive ones first.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Its name for people.
            pub const fn display(self) -> &'static str {
                match self { $(Self::$name => $display,)* }
            }

            /// How it is granted.
            pub const fn tier(self) -> Tier {
                match self { $(Self::$name => Tier::$tier,)* }
            }
        }
    };
}

categories! {
    /// HIV and its treatment.
    Hiv = "hiv", Sensitive, "HIV";
    /// Hereditary facts.
    Genomics = "genomics", Sensitive, "Genomics";
    /// Alcohol and drugs.
    SubstanceUse = "substance-use", Sensitive, "Substance use";
    /// Mental health.
    MentalHealth = "mental-health", Sensitive, "Mental health";
    /// Sexual and reproductive health.
    SexualHealth = "sexual-health", Sensitive, "Sexual health";
    /// Labelled restricted or very restricted.
    Restricted = "restricted", Sensitive, "Restricted";
    /// Allergies and intolerances.
    Allergies = "allergies", Emergency, "Allergies";
    /// Medications.
    Medications = "medications", Emergency, "Medications";
    /// Diagnoses and problems.
    Problems = "problems", Emergency, "Problems";
    /// Blood group.
    BloodGroup = "blood-group", Emergency, "Blood group";
    /// Implants.
    Implants = "implants", Emergency, "Implants";
    /// Laboratory results.
    Laboratory = "laboratory", Clinical, "Laboratory";
    /// Vital signs.
    VitalSigns = "vital-signs", Clinical, "Vital signs";
    /// Images and their reports.
    Imaging = "imaging", Clinical, "Imaging";
    /// Procedures.
    Procedures = "procedures", Clinical, "Procedures";
    /// Visits.
    Encounters = "encounters", Clinical, "Encounters";
    /// Immunizations.
    Immunizations = "immunizations", Clinical, "Immunizations";
    /// Notes, letters, questionnaires.
    Documents = "documents", Clinical, "Documents";
    /// Plans and orders.
    CarePlans = "care-plans", Clinical, "Care plans";
    /// Devices and supplies.
    Devices = "devices", Clinical, "Devices";
    /// Illnesses of relatives.
    FamilyHistory = "family-history", Clinical, "Family history";
    /// How somebody lives.
    SocialHistory = "social-history", Clinical, "Social history";
    /// Who somebody is.
    Demographics = "demographics", Clinical, "Demographics";
    /// Claims and payments.
    Claims = "claims", Clinical, "Claims";
    /// What no rule knows.
    Other = "other", Clinical, "Other";
}

/// A text that names no category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a category of records")]
pub struct NoCategory;

impl Category {
    /// Every category.
    pub const fn all() -> &'static [Self] {
        Self::ALL
    }

    /// As a coding of the category system.
    pub fn coding(self) -> Coding {
        Coding {
            system: systems::CATEGORY.to_owned(),
            code: self.code().to_owned(),
            display: Some(self.display().to_owned()),
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Category {
    type Err = NoCategory;

    fn from_str(text: &str) -> Result<Self, NoCategory> {
        Self::ALL.iter().copied().find(|c| c.code() == text).ok_or(NoCategory)
    }
}

impl Serialize for Category {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Category {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// The version of the table in use.
pub const TABLE_VERSION: u32 = 1;

const TABLE: &str = include_str!("../../../schemas/fhir/category-table.v1.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    version: u32,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    category: Category,
    #[serde(rename = "why")]
    _why: String,
    #[serde(default)]
    types: HashSet<String>,
    #[serde(default)]
    codes: HashMap<String, HashSet<String>>,
    #[serde(default)]
    prefixes: HashMap<String, Vec<String>>,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let table: Table = serde_json::from_str(TABLE).expect("the table is part of the binary and tested");
    assert_eq!(table.version, TABLE_VERSION);
    table.rules
});

impl Rule {
    fn fits(&self, resource_type: &str, codings: &[(&str, &str)]) -> bool {
        let by_type = self.types.is_empty() || self.types.contains(resource_type);
        let by_code = self.codes.is_empty() && self.prefixes.is_empty();
        by_type && (by_code || codings.iter().any(|c| self.names(c)))
    }

    fn names(&self, (system, code): &(&str, &str)) -> bool {
        self.codes.get(*system).is_some_and(|codes| codes.contains(*code))
            || self.prefixes.get(*system).is_some_and(|all| all.iter().any(|p| code.starts_with(p.as_str())))
    }
}

/// The one category of a record.
pub fn categorize(resource_type: &str, resource: &Value) -> Category {
    let codings = codings(resource);
    RULES.iter().find(|r| r.fits(resource_type, &codings)).map_or(Category::Other, |r| r.category)
}

/// Every system and code anywhere in the resource.
fn codings(resource: &Value) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let mut open = vec![resource];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                if let (Some(system), Some(code)) = (text("system"), text("code")) {
                    out.push((system, code));
                }
                open.extend(members.values().filter(|v| v.is_object() || v.is_array()));
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn coded(system: &str, code: &str) -> Value {
        json!({ "code": { "coding": [{ "system": system, "code": code }] } })
    }

    #[test]
    fn sensitive_comes_before_emergency_before_clinical() {
        const SNOMED: &str = "http://snomed.info/sct";
        const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
        assert_eq!(categorize("Condition", &coded(SNOMED, "44054006")), Category::Problems);
        assert_eq!(categorize("Condition", &coded(SNOMED, "370143000")), Category::MentalHealth);
        assert_eq!(categorize("Condition", &coded(ICD, "F32.1")), Category::MentalHealth);
        assert_eq!(categorize("Condition", &coded(ICD, "F10.2")), Category::SubstanceUse);
        assert_eq!(categorize("Condition", &coded(ICD, "B20")), Category::Hiv);
        assert_eq!(categorize("Condition", &coded(ICD, "E11")), Category::Problems);
        assert_eq!(categorize("Observation", &coded("http://loinc.org", "883-9")), Category::BloodGroup);
        assert_eq!(categorize("MolecularSequence", &json!({})), Category::Genomics);
        assert_eq!(categorize("Basic", &json!({})), Category::Other);
    }

    #[test]
    fn a_sensitive_code_is_found_wherever_it_stands() {
        let visit =
            json!({ "reasonCode": [{ "coding": [{ "system": "http://snomed.info/sct", "code": "66590003" }] }] });
        assert_eq!(categorize("Encounter", &visit), Category::SubstanceUse);
        let contained = json!({ "contained": [coded("http://snomed.info/sct", "86406008")] });
        assert_eq!(categorize("MedicationRequest", &contained), Category::Hiv);
    }

    #[test]
    fn labels_make_a_record_sensitive() {
        let label = |system: &str, code: &str| json!({ "meta": { "security": [{ "system": system, "code": code }] } });
        let confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
        assert_eq!(categorize("Condition", &label(confidentiality, "V")), Category::Restricted);
        assert_eq!(categorize("Condition", &label(confidentiality, "R")), Category::Restricted);
        assert_eq!(categorize("Condition", &label(confidentiality, "N")), Category::Problems);
        let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
        assert_eq!(categorize("Observation", &label(act, "HIV")), Category::Hiv);
        assert_eq!(categorize("Observation", &label(act, "SDV")), Category::SexualHealth);
    }

    #[test]
    fn observations_go_by_their_own_category() {
        let of = |code: &str| {
            json!({ "category": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": code
            }] }] })
        };
        assert_eq!(categorize("Observation", &of("vital-signs")), Category::VitalSigns);
        assert_eq!(categorize("Observation", &of("laboratory")), Category::Laboratory);
        assert_eq!(categorize("Observation", &of("exam")), Category::Other);
    }

    #[test]
    fn the_table_is_in_order_of_the_tiers_and_every_category_reads_back() {
        // A clinical rule before a sensitive one would let a sensitive record through as clinical.
        assert!(RULES.windows(2).all(|w| w[0].category.tier() <= w[1].category.tier()));
        for rule in RULES.iter() {
            assert!(rule.types.iter().all(|t| vouchsafe_fhir_structure::is_resource_type(t)));
        }
        for category in Category::ALL {
            assert_eq!(category.code().parse(), Ok(*category));
            assert!(*category == Category::Other || RULES.iter().any(|r| r.category == *category), "{category}");
        }
        assert_eq!("everything".parse::<Category>(), Err(NoCategory));
    }
}

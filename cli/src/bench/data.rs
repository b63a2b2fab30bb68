//! Synthetic patients and results from a seed. Nobody in them exists.

pub(crate) use vouchsafe_testnet::Rng;

/// The system of the patients' identifiers.
pub(crate) const SYSTEM: &str = "urn:example:bench";
const FAMILIES: [&str; 8] = ["Ahorn", "Birke", "Eiche", "Fichte", "Linde", "Ulme", "Weide", "Zeder"];
const GIVEN: [&str; 8] = ["Ada", "Bela", "Cleo", "Dino", "Emil", "Fina", "Gero", "Hedy"];
const CODES: [(&str, &str, &str); 8] = [
    ("718-7", "Hemoglobin", "g/dL"),
    ("4548-4", "Hemoglobin A1c", "%"),
    ("2339-0", "Glucose", "mg/dL"),
    ("2160-0", "Creatinine", "mg/dL"),
    ("8480-6", "Systolic blood pressure", "mm[Hg]"),
    ("8867-4", "Heart rate", "/min"),
    ("29463-7", "Body weight", "kg"),
    ("6690-2", "Leukocytes", "10*3/uL"),
];

/// A Patient.
pub(crate) fn patient(rng: &mut Rng) -> String {
    identified(rng).1
}

/// The same, after the value of its identifier.
pub(crate) fn identified(rng: &mut Rng) -> (String, String) {
    let identifier = format!("{:016x}", rng.next());
    let patient = format!(
        r#"{{"resourceType":"Patient","active":true,"identifier":[{{"system":"{SYSTEM}","value":"{identifier}"}}],"name":[{{"family":"{}","given":["{}"]}}],"gender":"{}","birthDate":"{}"}}"#,
        rng.one(&FAMILIES),
        rng.one(&GIVEN),
        rng.one(&["female", "male"]),
        date(rng, 1930, 80),
    );
    (identifier, patient)
}

/// A small Observation of a patient, `Patient/…` or an entry's `urn:uuid:…`, as laboratories and monitors send them.
pub(crate) fn observation(rng: &mut Rng, patient: &str) -> String {
    let (code, display, unit) = rng.one(&CODES);
    format!(
        r#"{{"resourceType":"Observation","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"Laboratory"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}","display":"{display}"}}],"text":"{display}"}},"subject":{{"reference":"{patient}"}},"effectiveDateTime":"{}T{:02}:{:02}:00Z","valueQuantity":{{"value":{}.{:02},"unit":"{unit}","system":"http://unitsofmeasure.org","code":"{unit}"}}}}"#,
        date(rng, FIRST_YEAR, YEARS),
        rng.below(24),
        rng.below(60),
        rng.below(200),
        rng.below(100),
    )
}

/// A transaction Bundle of one patient with encounters and observations, whose entries refer to each other by `urn:uuid:`.
pub(crate) fn bundle(rng: &mut Rng, entries: usize) -> String {
    let patient_url = uuid(rng);
    let mut all = vec![entry(&patient_url, "Patient", &patient(rng))];
    let mut encounter_url = String::new();
    for n in 1..entries {
        let url = uuid(rng);
        if n % ENCOUNTER_EVERY == 1 {
            encounter_url = url;
            all.push(entry(&encounter_url, "Encounter", &encounter(rng, &patient_url)));
            continue;
        }
        let observation = observation(rng, &patient_url);
        let rest = observation.strip_prefix('{').unwrap_or_default();
        let with = format!(r#"{{"encounter":{{"reference":"{encounter_url}"}},{rest}"#);
        all.push(entry(&url, "Observation", &with));
    }
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, all.join(","))
}

/// How many entries of a Bundle follow an encounter.
const ENCOUNTER_EVERY: usize = 20;

fn entry(url: &str, kind: &str, resource: &str) -> String {
    format!(r#"{{"fullUrl":"{url}","resource":{resource},"request":{{"method":"POST","url":"{kind}"}}}}"#)
}

fn encounter(rng: &mut Rng, patient: &str) -> String {
    let date = date(rng, FIRST_YEAR, YEARS);
    format!(
        r#"{{"resourceType":"Encounter","status":"finished","class":{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"AMB"}},"subject":{{"reference":"{patient}"}},"period":{{"start":"{date}T08:00:00Z","end":"{date}T09:00:00Z"}}}}"#
    )
}

fn uuid(rng: &mut Rng) -> String {
    let (a, b) = (rng.next(), rng.next());
    let (head, tail) = (a >> 32, b & 0xffff_ffff_ffff);
    format!("urn:uuid:{head:08x}-{:04x}-4{:03x}-8{:03x}-{tail:012x}", (a >> 16) & 0xffff, a & 0xfff, (b >> 48) & 0xfff)
}

/// The years of the observations.
pub(crate) const FIRST_YEAR: u64 = 2016;
pub(crate) const YEARS: u64 = 10;

fn date(rng: &mut Rng, from: u64, years: u64) -> String {
    format!("{}-{:02}-{:02}", from + rng.below(years), 1 + rng.below(12), 1 + rng.below(28))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_valid_resources_again() {
        let make = |seed| {
            let mut rng = Rng::new(seed);
            (0..50).map(|_| (patient(&mut rng), observation(&mut rng, "Patient/1"))).collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
        for (patient, observation) in make(7) {
            vouchsafe_fhir_structure::check("Patient", patient.as_bytes()).unwrap();
            vouchsafe_fhir_structure::check("Observation", observation.as_bytes()).unwrap();
        }
        let bundle = bundle(&mut Rng::new(1), 50);
        vouchsafe_fhir_structure::check("Bundle", bundle.as_bytes()).unwrap();
        assert_eq!(bundle.matches("\"fullUrl\"").count(), 50);
    }
}

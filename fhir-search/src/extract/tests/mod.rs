//! What is found in resources, against R4's rules.

mod golden;
mod rules;

use super::*;
use crate::table::table;

#[test]
fn every_parameter_of_every_type_leads_to_elements() {
    for name in vouchsafe_fhir_structure::RESOURCE_TYPES {
        let plan = plan::plan(name).unwrap();
        assert!(plan.exists.iter().all(|(_, members)| !members.is_empty()), "{name}");
        let finds = plan.root.all();
        let mut numbers: Vec<u16> = plan.exists.iter().map(|(number, _)| *number).collect();
        numbers.extend(finds.iter().map(|find| find.number));
        for param in crate::params(name) {
            let stored = ["_id", "_lastUpdated"].contains(&param.code);
            assert_ne!(numbers.contains(&param.number), stored, "{name} {}", param.code);
        }
        numbers.iter().for_each(|number| assert!(table().definitions[usize::from(*number)].is_for(name)));
        for find in finds {
            if let convert::How::Composite(parts) = &find.how {
                let found: Vec<_> =
                    parts.here.all().into_iter().chain(parts.resource.all()).map(|f| f.number).collect();
                assert!(
                    parts.count >= 2 && (0..parts.count).all(|part| found.contains(&part)),
                    "{name} {}",
                    find.number
                );
            }
        }
    }
    assert!(plan::plan("DomainResource").is_none());
}

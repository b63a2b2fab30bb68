//! schemas/rejections.json is for those who do not read Rust.

use std::fs;

use serde_json::Value;
use vouchsafe_types::Code;

use crate::files::schemas;

#[test]
fn the_list_for_the_outside_has_every_code() {
    let list: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(schemas().join("rejections.json")).unwrap()).unwrap();
    let listed: Vec<(u64, &str)> =
        list.iter().map(|c| (c["number"].as_u64().unwrap(), c["name"].as_str().unwrap())).collect();
    let codes: Vec<(u64, &str)> = Code::ALL.iter().map(|c| (u64::from(c.number()), c.name())).collect();
    assert_eq!(listed, codes);
    assert!(list.iter().all(|c| c["meaning"].as_str().unwrap().ends_with('.')));
    assert!(codes.windows(2).all(|w| w[0].0 < w[1].0), "numbers ascend, none twice");
}

#[test]
fn the_specification_names_every_code_and_every_transaction() {
    let spec = fs::read_to_string(schemas().join("../docs/ledger-spec.md")).unwrap();
    for code in Code::ALL {
        let row = format!("| {} | `{}` |", code.number(), code.name());
        assert!(spec.contains(&row), "docs/ledger-spec.md lacks {row:?}");
    }
    for typ in vouchsafe_types::Tx::TYPS {
        assert!(spec.contains(&format!("### `{typ}`")), "docs/ledger-spec.md lacks {typ}");
    }
}

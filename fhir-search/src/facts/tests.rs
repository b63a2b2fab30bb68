use proptest::prelude::*;

use super::*;
use crate::Decimal;

/// Facts own nothing; these do.
#[derive(Clone, Debug)]
enum Owned {
    Token(Option<String>, String, Option<String>),
    Typed(String, String, String),
    String(String),
    Reference(Option<String>, Option<String>, String),
    Logical(Option<String>, String),
    Date(i64, i64),
    Number(i128, i128),
    Quantity((i128, i128), Option<String>, Option<String>, Option<String>),
    Uri(String),
    Tuple,
    Component(u8),
}

impl Owned {
    fn fact(&self) -> Fact<'_> {
        let range = |low: i128, high: i128| DecimalRange { low: Decimal(low), high: Decimal(high) };
        match self {
            Self::Token(system, code, text) => Fact::Token { system: system.as_deref(), code, text: text.as_deref() },
            Self::Typed(system, code, value) => Fact::TypedIdentifier { system, code, value },
            Self::String(text) => Fact::String(text),
            Self::Reference(resource_type, id, url) => {
                Fact::Reference { resource_type: resource_type.as_deref(), id: id.as_deref(), url }
            }
            Self::Logical(system, value) => Fact::ReferenceIdentifier { system: system.as_deref(), value },
            Self::Date(start, end) => Fact::Date(DateRange { start: *start, end: *end }),
            Self::Number(low, high) => Fact::Number(range(*low, *high)),
            Self::Quantity((low, high), system, code, unit) => Fact::Quantity {
                range: range(*low, *high),
                system: system.as_deref(),
                code: code.as_deref(),
                unit: unit.as_deref(),
            },
            Self::Uri(text) => Fact::Uri(text),
            Self::Tuple => Fact::Tuple,
            Self::Component(number) => Fact::Component(*number),
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-cä]{0,5}", "http://loinc.org", "(Patient|Group)/[0-9]{1,2}", ".{0,200}"]
}

fn maybe() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(text())
}

fn one() -> impl Strategy<Value = Owned> {
    let number =
        || prop_oneof![any::<i128>(), (-1000..1000_i128).prop_map(|n| n * 10_i128.pow(14)), Just(i128::MIN), Just(0)];
    prop_oneof![
        (maybe(), text(), maybe()).prop_map(|(a, b, c)| Owned::Token(a, b, c)),
        (text(), text(), text()).prop_map(|(a, b, c)| Owned::Typed(a, b, c)),
        text().prop_map(Owned::String),
        (maybe(), maybe(), text()).prop_map(|(a, b, c)| Owned::Reference(a, b, c)),
        ("[A-C]", "[0-9]{1,3}").prop_map(|(t, id)| Owned::Reference(
            Some(t.clone()),
            Some(id.clone()),
            format!("{t}/{id}")
        )),
        (maybe(), text()).prop_map(|(a, b)| Owned::Logical(a, b)),
        (any::<i64>(), any::<i64>()).prop_map(|(a, b)| Owned::Date(a, b)),
        (number(), number()).prop_map(|(a, b)| Owned::Number(a, b)),
        ((number(), number()), maybe(), maybe(), maybe()).prop_map(|(r, a, b, c)| Owned::Quantity(r, a, b, c)),
        text().prop_map(Owned::Uri),
        Just(Owned::Tuple),
        any::<u8>().prop_map(Owned::Component),
    ]
}

fn build(facts: &[(u16, Owned)]) -> Facts {
    let mut builder = FactsBuilder::default();
    facts.iter().for_each(|(number, fact)| builder.push(*number, fact.fact()));
    builder.finish()
}

proptest! {
    #[test]
    fn what_is_written_is_read(mut facts in proptest::collection::vec((0..40_u16, one()), 0..40), last in any::<u16>()) {
        facts.push((last.max(40), Owned::Tuple));
        facts.sort_by_key(|(number, _)| *number);
        let built = build(&facts);
        let again = Facts::from_bytes(built.bytes().to_vec());
        let expected: Vec<_> = facts.iter().map(|(number, fact)| (*number, fact.fact())).collect();
        prop_assert!(again.as_ref().all().eq(expected.iter().copied()));
        for number in 0..=41 {
            let of = expected.iter().filter(|(n, _)| *n == number).map(|(_, fact)| *fact);
            prop_assert!(FactsRef::new(built.bytes()).of(number).eq(of));
        }
        prop_assert!(built.as_ref().of(last.max(40)).last() == Some(Fact::Tuple));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let facts = FactsRef::new(&bytes);
        prop_assert!(facts.all().count() <= bytes.len() * bytes.len());
        let _ = facts.of(3).count();
    }

    #[test]
    fn cut_facts_are_read_without_a_panic(facts in proptest::collection::vec(one(), 1..10), cut in any::<prop::sample::Index>()) {
        let facts: Vec<_> = facts.into_iter().map(|fact| (7, fact)).collect();
        let bytes = build(&facts).bytes().to_vec();
        let _ = FactsRef::new(&bytes[..cut.index(bytes.len())]).all().count();
    }
}

#[test]
fn a_text_is_written_once() {
    let token = Owned::Token(Some("http://loinc.org".to_owned()), "29463-7".to_owned(), Some("Body Weight".to_owned()));
    let one = build(&[(10, token.clone())]).bytes().len();
    let two = build(&[(10, token.clone()), (11, token)]).bytes().len();
    assert!(two - one <= 6, "{one} {two}");
}

#[test]
fn usual_numbers_and_dates_are_short() {
    let half = 5 * 10_i128.pow(13);
    let number = build(&[(1, Owned::Number(705 * 10_i128.pow(14) - half, 705 * 10_i128.pow(14) + half))]);
    assert!(number.bytes().len() <= 10, "{}", number.bytes().len());
    let date = build(&[(1, Owned::Date(1_700_000_000_000, 1_700_000_000_999))]);
    assert!(date.bytes().len() <= 12, "{}", date.bytes().len());
}

//! Text without the differences that a search for text passes over: case and accents
//! (<https://hl7.org/fhir/R4/search.html#string>).

use std::iter::FlatMap;
use std::str::Chars;

use icu_normalizer::{
    DecomposingNormalizerBorrowed, Decomposition,
    properties::{CanonicalCombiningClassMap, CanonicalCombiningClassMapBorrowed},
};

const DECOMPOSE: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();
const CLASSES: CanonicalCombiningClassMapBorrowed<'static> = CanonicalCombiningClassMap::new();

/// The characters of a text in lower case and without accents, one by one, so that nothing is kept.
pub fn fold(text: &str) -> impl Iterator<Item = char> + '_ {
    // Most text is ASCII, and for it the tables need not be asked.
    if text.is_ascii() { Folded::Ascii(text.bytes()) } else { Folded::Any(decomposed(text)) }
}

type Lower<'a> = FlatMap<Chars<'a>, std::char::ToLowercase, fn(char) -> std::char::ToLowercase>;

fn decomposed(text: &str) -> Decomposition<'static, Lower<'_>> {
    // Lower case first: the capital I with a dot becomes an i and a dot, which is then an accent.
    let lower: fn(char) -> std::char::ToLowercase = char::to_lowercase;
    DECOMPOSE.normalize_iter(text.chars().flat_map(lower))
}

// The larger variant lives on the stack of one comparison, and a box would be an allocation for each.
#[allow(clippy::large_enum_variant, reason = "boxing would allocate for each text that is compared")]
enum Folded<'a> {
    Ascii(std::str::Bytes<'a>),
    Any(Decomposition<'static, Lower<'a>>),
}

impl Iterator for Folded<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Ascii(bytes) => bytes.next().map(|b| char::from(b.to_ascii_lowercase())),
            Self::Any(chars) => chars.find(|c| CLASSES.get_u8(*c) == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        fold(text).collect()
    }

    #[test]
    fn case_and_accents_make_no_difference() {
        for (a, b) in [("MÜLLER", "muller"), ("Zoë", "zoe"), ("e\u{301}tat", "État"), ("İstanbul", "istanbul")] {
            assert_eq!(folded(a), folded(b), "{a}");
        }
        assert_eq!(folded("Nguyễn"), "nguyen");
        assert_ne!(folded("Muller"), folded("Mueller"));
    }

    #[test]
    fn text_without_letters_stays() {
        assert_eq!(folded("+49 (30) 1-2"), "+49 (30) 1-2");
        assert_eq!(folded("\u{301}"), "");
        assert_eq!(folded("王小明"), "王小明");
    }
}

//! FHIR's dates and times as ranges of milliseconds: a year is a year long, and a search for it finds all of it.

use serde::{Deserialize, Serialize};
use time::{
    Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// A span of time in milliseconds since 1970, both ends within. Before 1970 is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DateRange {
    /// The first millisecond.
    pub start: i64,
    /// The last millisecond.
    pub end: i64,
}

impl DateRange {
    /// All of the time that FHIR's dates reach, 0001 to 9999; the ends of open periods.
    pub const ALWAYS: Self = Self { start: -62_135_596_800_000, end: 253_402_300_799_999 };

    /// Reads a date, dateTime or instant of any precision: `2026`, `2026-11`, `2026-11-22`, `2026-11-22T20:54:03Z`.
    /// A date without a zone is taken as UTC.
    pub fn parse(text: &str) -> Option<Self> {
        match text.len() {
            4 => Self::span(year(text)?, 1, 1, |y, _| (y + 1, 1, 1)),
            7 => {
                let (y, m) = (year(text.get(..4)?)?, number(text.get(4..7)?, '-')?);
                Self::span(y, m, 1, |y, m| if m == 12 { (y + 1, 1, 1) } else { (y, m + 1, 1) })
            }
            10 => {
                let day = date(text)?.midnight().assume_utc();
                let start = millis(day)?;
                Some(Self { start, end: start + 86_400_000 - 1 })
            }
            _ => Self::parse_time(text),
        }
    }

    fn span(y: i32, m: u8, d: u8, next: impl Fn(i32, u8) -> (i32, u8, u8)) -> Option<Self> {
        let at = |(y, m, d): (i32, u8, u8)| {
            millis(Date::from_calendar_date(y, Month::try_from(m).ok()?, d).ok()?.midnight().assume_utc())
        };
        let start = at((y, m, d))?;
        // The last year that can be counted has no next one.
        let end = at(next(y, m)).map_or(Self::ALWAYS.end, |n| n - 1);
        Some(Self { start, end })
    }

    fn parse_time(text: &str) -> Option<Self> {
        let (day, clock) = text.split_once('T')?;
        let (clock, zone) = match clock.find(['Z', '+', '-']) {
            Some(at) => clock.split_at(at),
            None => (clock, "Z"),
        };
        if zone == "Z" || zone.len() == 6 {
            let (h, m, s, ms, step) = clock_of(clock)?;
            let time = Time::from_hms_milli(h, m, s.min(59), ms).ok()?;
            let at = PrimitiveDateTime::new(date(day)?, time).assume_offset(offset(zone)?);
            let start = millis(at)?;
            return Some(Self { start, end: start + step - 1 });
        }
        None
    }

    /// From one time to another, either of which may be open.
    pub fn of_period(start: Option<&str>, end: Option<&str>) -> Option<Self> {
        let first = start.map(Self::parse);
        let last = end.map(Self::parse);
        match (first, last) {
            (None, None) | (Some(None), _) | (_, Some(None)) => None,
            (first, last) => Some(Self {
                start: first.flatten().map_or(Self::ALWAYS.start, |r| r.start),
                end: last.flatten().map_or(Self::ALWAYS.end, |r| r.end),
            }),
        }
    }

    /// True when both share a millisecond.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// True when `other` lies within.
    pub fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

fn year(text: &str) -> Option<i32> {
    let all_digits = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|y| all_digits && *y > 0)
}

/// Two digits after a separator.
fn number(text: &str, separator: char) -> Option<u8> {
    let digits = text.strip_prefix(separator)?;
    (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn date(text: &str) -> Option<Date> {
    let (y, m, d) = (year(text.get(..4)?)?, number(text.get(4..7)?, '-')?, number(text.get(7..)?, '-')?);
    Date::from_calendar_date(y, Month::try_from(m).ok()?, d).ok()
}

/// Hour, minute, second, millisecond and how many milliseconds the text spans.
fn clock_of(text: &str) -> Option<(u8, u8, u8, u16, i64)> {
    if !text.is_ascii() || text.len() < 5 {
        return None;
    }
    let (h, m) = (number(&format!(":{}", &text[..2]), ':')?, number(&text[2..5], ':')?);
    if text.len() == 5 {
        return Some((h, m, 0, 0, 60_000));
    }
    // R4 allows the second 60 of a leap second.
    let s = number(text.get(5..8)?, ':').filter(|s| *s <= 60)?;
    match text.get(8..)? {
        "" => Some((h, m, s, 0, 1000)),
        fraction => {
            let digits = fraction.strip_prefix('.')?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let ms = format!("{digits:0<3}")[..3].parse().ok()?;
            Some((h, m, s, ms, [100, 10].get(digits.len() - 1).copied().unwrap_or(1)))
        }
    }
}

fn offset(zone: &str) -> Option<UtcOffset> {
    if zone == "Z" {
        return Some(UtcOffset::UTC);
    }
    let (h, m) = (number(&format!(":{}", zone.get(1..3)?), ':')?, number(zone.get(3..6)?, ':')?);
    let sign: i8 = if zone.starts_with('-') { -1 } else { 1 };
    let signed = |n: u8| i8::try_from(n).ok().map(|n| n * sign);
    (h <= 14 && m < 60).then_some(())?;
    UtcOffset::from_hms(signed(h)?, signed(m)?, 0).ok()
}

fn millis(at: OffsetDateTime) -> Option<i64> {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// An instant in milliseconds since 1970, which may be before it; clamped to the years that FHIR has.
pub fn instant_of(ms: i64) -> String {
    let ms = ms.clamp(DateRange::ALWAYS.start, DateRange::ALWAYS.end);
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    at.and_then(|t| t.format(INSTANT).ok()).expect("a year from 1 to 9999 can be written")
}

/// Always with milliseconds, so that texts sort as times do.
const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_dates_are_ranges() {
        let of = |t: &str| DateRange::parse(t).unwrap();
        assert_eq!(of("1970"), DateRange { start: 0, end: 365 * 86_400_000 - 1 });
        assert_eq!(of("1970-02"), DateRange { start: 31 * 86_400_000, end: 59 * 86_400_000 - 1 });
        assert_eq!(of("1970-12").end, of("1970").end);
        assert_eq!(of("1970-01-02"), DateRange { start: 86_400_000, end: 2 * 86_400_000 - 1 });
        assert_eq!(of("1970-01-01T00:00:01Z"), DateRange { start: 1000, end: 1999 });
        assert_eq!(of("1970-01-01T00:00:01.5Z"), DateRange { start: 1500, end: 1599 });
        assert_eq!(of("1970-01-01T01:00:01.123456+01:00"), DateRange { start: 1123, end: 1123 });
        assert_eq!(of("1969-12-31T23:00:00-01:00").start, 0);
        assert!(of("9999").contains(&of("9999-12")));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for bad in [
            "",
            "26",
            "2026-13",
            "2026-02-30",
            "2026-1-1",
            "2026-11-22T25:00:00Z",
            "2026-11-22T20",
            "+202",
            "2026-11-22T20:00:00+99:00",
            "2026-11-22 20:00",
            "äöü",
            "2026-ä1",
            "0000",
            "2026-11-22T20:00:00.Z",
        ] {
            assert_eq!(DateRange::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn periods_may_be_open() {
        assert_eq!(DateRange::of_period(None, None), None);
        assert_eq!(DateRange::of_period(Some("1970"), None).unwrap().end, DateRange::ALWAYS.end);
        assert_eq!(DateRange::of_period(Some("nonsense"), Some("1970")), None);
    }

    #[test]
    fn instants_are_written_in_utc() {
        assert_eq!(DateRange::parse(&instant_of(1_500)).unwrap().start, 1_500);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}") {
            let _ = DateRange::parse(&text);
        }

        #[test]
        fn near_dates_are_read_without_a_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+Z-]{0,16}") {
            let _ = DateRange::parse(&text);
        }
    }
}

//! `near` of Location (<https://hl7.org/fhir/R4/location.html#search>): the one parameter with a kind of its own.

use super::split::split;
use crate::{Fact, FactsRef};

/// Kilometres when the query names no distance: R4 leaves it to the server.
const DEFAULT_KM: f64 = 50.0;
/// Half way round the earth; nothing is farther.
const FARTHEST_KM: f64 = 20_100.0;

/// A place and how far around it is meant.
#[derive(Clone)]
pub(crate) struct Near {
    latitude: f64,
    longitude: f64,
    km: f64,
}

impl Near {
    /// Reads `latitude|longitude|distance|units`, the last two optional.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts = split(text, '|').collect::<Vec<_>>();
        let (latitude, longitude) = (degrees(parts.first()?, 90.0)?, degrees(parts.get(1)?, 180.0)?);
        let unit = match parts.get(3).copied().unwrap_or_default() {
            "" | "km" => 1.0,
            "m" => 0.001,
            "mi" | "mi_us" | "[mi_us]" | "[mi_i]" => 1.609_344,
            _ => return None,
        };
        let km = match parts.get(2).copied().unwrap_or_default() {
            "" => DEFAULT_KM,
            distance => number(distance)? * unit,
        };
        let fine = parts.len() <= 4 && km >= 0.0;
        fine.then_some(Self { latitude, longitude, km: km.min(FARTHEST_KM) })
    }

    /// A position is a tuple of latitude and longitude.
    pub(super) fn among(&self, facts: FactsRef<'_>, parameter: u16) -> bool {
        let (mut at, mut found) = (0, [None, None]);
        for fact in facts.of(parameter) {
            match fact {
                Fact::Tuple => found = [None, None],
                Fact::Component(component) => at = usize::from(component),
                Fact::Number(range) => {
                    if let Some(place) = found.get_mut(at) {
                        *place = Some(of_decimal(range.low.0));
                    }
                    if let [Some(latitude), Some(longitude)] = found
                        && self.km_to(latitude, longitude) <= self.km
                    {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// Along the great circle, by the haversine formula.
    fn km_to(&self, latitude: f64, longitude: f64) -> f64 {
        let (a, b) = (self.latitude.to_radians(), latitude.to_radians());
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let h = half(latitude - self.latitude) + a.cos() * b.cos() * half(longitude - self.longitude);
        2.0 * 6371.0 * h.clamp(0.0, 1.0).sqrt().asin()
    }
}

fn degrees(text: &str, most: f64) -> Option<f64> {
    number(text).filter(|d| d.abs() <= most)
}

/// R4's decimals only: no `inf`, no `NaN`.
fn number(text: &str) -> Option<f64> {
    crate::Decimal::parse(text).map(|d| of_decimal(d.0))
}

/// A distance needs no more digits than a float has.
#[allow(clippy::cast_precision_loss, reason = "fifteen digits place a point on the earth to the micrometre")]
fn of_decimal(units: i128) -> f64 {
    units as f64 / 1e15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decimal, DecimalRange, FactsBuilder};

    #[test]
    fn what_lies_within_the_distance_is_near() {
        let mut facts = FactsBuilder::default();
        let number = |text: &str| Fact::Number(DecimalRange::exactly(Decimal::parse(text).unwrap()));
        // Boston; New York is 306 km away.
        for fact in [Fact::Tuple, Fact::Component(0), number("42.3601"), Fact::Component(1), number("-71.0589")] {
            facts.push(7, fact);
        }
        let facts = facts.finish();
        for (query, found) in [
            ("42.36|-71.06", true),
            ("40.7128|-74.0060|310|km", true),
            ("40.7128|-74.0060|300|km", false),
            ("40.7128|-74.0060|200|[mi_us]", true),
            ("40.7128|-74.0060", false),
        ] {
            assert_eq!(Near::parse(query).unwrap().among(facts.as_ref(), 7), found, "{query}");
        }
        for bad in ["", "1", "91|0", "0|181", "0|0|-1", "0|0|1|furlong", "0|0|1|km|x", "NaN|0", "inf|0", "0|0|x"] {
            assert!(Near::parse(bad).is_none(), "{bad}");
        }
    }
}

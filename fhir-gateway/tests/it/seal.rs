//! Keys, envelopes and tokens.

mod device;
mod jose;
mod jwe;
mod keystore;

use std::sync::LazyLock;

use vouchsafe_gateway::seal::device::RsaKey;

/// Two keys that all tests share, because making one takes a while.
static RSA: LazyLock<[RsaKey; 2]> = LazyLock::new(|| [RsaKey::generate().unwrap(), RsaKey::generate().unwrap()]);

/// Prints what sealing costs; nothing is asserted of time.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is there to print")]
fn measure_sealing() {
    use std::time::Instant;

    use vouchsafe_gateway::seal::{DataKey, GrantKey, KeyWrapping, oaep, record};
    use vouchsafe_types::{AccountId, Handle, RecordId};

    let per_second = |what: &str, times: u32, work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        println!("{what}: {:.0}/s", f64::from(times) / start.elapsed().as_secs_f64());
    };
    let aad = record::Aad {
        chain: "demo-00112233445566778899aabbccddeeff",
        custodian: AccountId([1; 16]),
        handle: Handle([2; 16]),
        record: RecordId([3; 16]),
        resource_type: "Observation",
        version: 1,
    };
    let (plain, grant) = (vec![b'x'; 2_048], GrantKey::generate());
    let wrapped = grant.wrap(&DataKey::generate());
    let public = vouchsafe_gateway::seal::RsaUnwrap::public(&RSA[0]);
    let to_rsa = oaep::wrap_to(&public, &grant).unwrap();
    per_second("seal 2 KiB, fresh key", 50_000, &mut || drop(record::seal(&DataKey::generate(), &aad, None, &plain)));
    per_second("AES-KW wrap", 50_000, &mut || _ = grant.wrap(&DataKey::generate()));
    per_second("AES-KW unwrap", 50_000, &mut || drop(grant.unwrap(&wrapped)));
    per_second("RSA-3072 wrap", 5_000, &mut || drop(oaep::wrap_to(&public, &grant)));
    per_second("RSA-3072 unwrap", 500, &mut || drop(oaep::unwrap_with::<GrantKey>(&RSA[0], &to_rsa)));
    per_second("RSA-3072 generate", 10, &mut || drop(RsaKey::generate()));
}

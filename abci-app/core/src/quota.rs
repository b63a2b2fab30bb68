//! Each account's share of a block. The counts lie in a flat row with the height they belong to, so that a new block
//! begins at zero without anything being swept.

use vouchsafe_types::{AccountId, Code, state::Params, tx::Role};

use crate::{BlockContext, Delta, StateRead, Verdict};

/// What an account used of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    height: u64,
    transactions: u64,
    sponsored: u64,
}

impl Used {
    fn from_row(row: &[u8]) -> Option<Self> {
        let (height, rest) = row.split_first_chunk::<8>()?;
        let (transactions, rest) = rest.split_first_chunk::<8>()?;
        let sponsored: &[u8; 8] = rest.try_into().ok()?;
        Some(Self {
            height: u64::from_be_bytes(*height),
            transactions: u64::from_be_bytes(*transactions),
            sponsored: u64::from_be_bytes(*sponsored),
        })
    }

    fn to_row(self) -> Vec<u8> {
        [self.height, self.transactions, self.sponsored].iter().flat_map(|n| n.to_be_bytes()).collect()
    }
}

/// `q/{account}` → height, transactions, sponsored registrations; eight bytes each, big-endian.
fn row(account: &AccountId) -> Vec<u8> {
    format!("q/{account}").into_bytes()
}

/// Charges one transaction, and one registration when it is one.
pub(crate) fn charge(
    state: &impl StateRead,
    block: &BlockContext,
    params: &Params,
    account: &AccountId,
    role: Role,
    sponsors: bool,
) -> Verdict<Delta> {
    let key = row(account);
    let mut used = state
        .get_flat(&key)
        .and_then(|bytes| Used::from_row(&bytes))
        .filter(|used| used.height == block.height)
        .unwrap_or(Used { height: block.height, ..Used::default() });
    used.transactions += 1;
    used.sponsored += u64::from(sponsors);
    let most = if role.is_organization() { params.organization_per_block } else { params.person_per_block };
    if used.transactions > most.0 {
        return Code::Quota.refuse(format!("{account} has used its {most} transactions of block {}", block.height));
    }
    if used.sponsored > params.sponsored_per_block.0 {
        let most = params.sponsored_per_block;
        return Code::Quota.refuse(format!("{account} has used its {most} registrations of block {}", block.height));
    }
    let mut delta = Delta::default();
    delta.flat.insert(key, Some(used.to_row()));
    Ok(delta)
}

//! The sum of the hashes of lines, which does not depend on their order; `pipeline/fingerprint.py` has the same in Python.

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

/// How many lines are hashed at a time, by the vector instructions that the machine has.
const AT_ONCE: usize = 256;

/// The sum of all lines' BLAKE2b of 16 bytes, personalized by `tag`, modulo 2 to the power of 128. `ends` are the places
/// in `data` where each line ends. None where one is outside of the data.
pub fn sum_of_hashes(data: &[u8], ends: impl Iterator<Item = usize>, tag: &[u8]) -> Option<u128> {
    let mut params = Params::new();
    params.hash_length(16).personal(tag);
    let (mut sum, mut from) = (0u128, 0);
    let mut jobs = Vec::with_capacity(AT_ONCE);
    let mut add = |jobs: &mut Vec<HashManyJob<'_>>| {
        hash_many(jobs.iter_mut());
        for job in jobs.drain(..) {
            sum = sum.wrapping_add(u128::from_be_bytes(job.to_hash().as_bytes().try_into().expect("16 bytes")));
        }
    };
    for end in ends {
        jobs.push(HashManyJob::new(&params, data.get(from..end)?));
        from = end;
        if jobs.len() == AT_ONCE {
            add(&mut jobs);
        }
    }
    add(&mut jobs);
    Some(sum)
}

//! Makes another trace of a trace: a part of it, a faster one, several at once.

use std::time::Duration;

use super::builder::MOST_BLOCKS;
use super::{Arrival, Error, Trace};
use crate::random::{Draw, mix};

/// The requests that arrive from `from` on, for `length` or to the end; `from` becomes the beginning.
#[must_use]
pub fn slice(mut trace: Trace, from: Duration, length: Option<Duration>) -> Trace {
    let until = length.map_or(Duration::MAX, |length| from.saturating_add(length));
    trace.arrivals.retain(|arrival| (from..until).contains(&arrival.at));
    trace.arrivals.iter_mut().for_each(|arrival| arrival.at -= from);
    trace
}

/// The first `count` requests.
#[must_use]
pub fn first(mut trace: Trace, count: usize) -> Trace {
    trace.arrivals.truncate(count);
    trace
}

/// The same requests, `factor` times as many in a second: time is compressed, and with it the pauses of conversations.
/// A factor that is not positive leaves the trace as it is.
#[must_use]
pub fn scale(mut trace: Trace, factor: f64) -> Trace {
    if factor > 0.0 && factor.is_finite() && factor != 1.0 {
        // A pause that a tiny factor would make longer than time itself ends with it.
        let scaled = |at: Duration| Duration::try_from_secs_f64(at.as_secs_f64() / factor);
        trace
            .arrivals
            .iter_mut()
            .for_each(|arrival| arrival.at = scaled(arrival.at).unwrap_or(Duration::MAX));
    }
    trace
}

/// `copies` of the trace at once, so that the rate rises while bursts, pauses and conversations keep their pace.
///
/// Every copy but the first begins at a moment of its own within the trace and goes round its end. Within a copy
/// requests share the prefixes that they did; between copies nothing is shared, as between strangers. Where a prefix
/// is common to all requests, a synthetic workload with a higher rate is the better choice.
///
/// # Errors
///
/// That the copies would have more block ids than a trace can hold.
pub fn replicate(trace: Trace, copies: u32, seed: u64) -> Result<Trace, Error> {
    let (count, blocks) = (trace.arrivals.len(), trace.blocks.len());
    if blocks.saturating_mul(copies as usize) > MOST_BLOCKS {
        return Err(Error::TooLarge { what: "block ids", most: MOST_BLOCKS });
    }
    let mut whole = trace;
    let period = whole.duration().saturating_add(mean_gap(&whole));
    let mut draw = Draw::new(seed, 0x636f_7079);
    for copy in 1..copies {
        let shift = period.mul_f64(draw.unit());
        for index in 0..count {
            let mut arrival = whole.arrivals[index];
            arrival.at = arrival.at.saturating_add(shift);
            arrival.at = arrival.at.checked_sub(period).unwrap_or(arrival.at);
            arrival.first_block += copy * blocks as u32;
            whole.arrivals.push(arrival);
        }
        let salt = mix(seed, u64::from(copy));
        whole.blocks.extend_from_within(..blocks);
        whole.blocks[copy as usize * blocks..].iter_mut().for_each(|id| *id = mix(*id, salt));
    }
    whole.arrivals.sort_by_key(|arrival| arrival.at);
    Ok(whole)
}

fn mean_gap(trace: &Trace) -> Duration {
    let gaps = trace.arrivals.len().saturating_sub(1).max(1);
    trace.duration().div_f64(gaps as f64)
}

/// Cuts prompts and answers that are longer than so many tokens, at least one each.
#[must_use]
pub fn cap(mut trace: Trace, prompt_tokens: u32, output_tokens: u32) -> Trace {
    let block = trace.block_tokens.max(1);
    for arrival in &mut trace.arrivals {
        arrival.prompt_tokens = arrival.prompt_tokens.min(prompt_tokens.max(1));
        arrival.output_tokens = arrival.output_tokens.min(output_tokens.max(1));
        arrival.block_count = arrival.block_count.min(arrival.prompt_tokens.div_ceil(block));
    }
    trace
}

/// The requests of these tenants only.
#[must_use]
pub fn only_tenants(mut trace: Trace, names: &[String]) -> Trace {
    let kept: Vec<bool> = trace.tenants.iter().map(|tenant| names.contains(tenant)).collect();
    trace.arrivals.retain(|arrival| kept[usize::from(arrival.tenant)]);
    trace
}

/// Draws anew who sends each request: a name with its weight is a tenant. Without any, nothing changes.
#[must_use]
pub fn share_tenants(mut trace: Trace, shares: &[(String, f64)], seed: u64) -> Trace {
    share(&mut trace.arrivals, shares, Draw::new(seed, 0x7465_6e61), |arrival, index| arrival.tenant = index);
    if !shares.is_empty() {
        trace.tenants = names(shares);
    }
    trace
}

/// Draws anew where each request comes from: a name with its weight is a region. Without any, nothing changes.
#[must_use]
pub fn share_regions(mut trace: Trace, shares: &[(String, f64)], seed: u64) -> Trace {
    share(&mut trace.arrivals, shares, Draw::new(seed, 0x7265_6769), |arrival, index| arrival.region = index);
    if !shares.is_empty() {
        trace.regions = names(shares);
    }
    trace
}

fn names(shares: &[(String, f64)]) -> Vec<String> {
    shares.iter().map(|(name, _)| name.clone()).collect()
}

fn share(arrivals: &mut [Arrival], shares: &[(String, f64)], mut draw: Draw, set: fn(&mut Arrival, u16)) {
    if shares.is_empty() {
        return;
    }
    for arrival in arrivals {
        set(arrival, draw.weighted(shares.iter().map(|(_, weight)| *weight)) as u16);
    }
}

#[cfg(test)]
mod tests;

use crate::transcode::wire::{Reader, Value};

/// How loaded an engine is, as vLLM and SGLang say it over gRPC.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loads {
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that run.
    pub running: u32,
    /// The share of memory for keys and values that is in use, that of the fullest rank.
    pub kv_used: Option<f64>,
}

/// The numbers of fields in `GetLoadsResponse` and `SchedulerLoad`, the same in both protocols.
mod field {
    pub(super) const LOADS: u32 = 4;
    pub(super) const RUNNING: u32 = 2;
    pub(super) const WAITING: u32 = 3;
    pub(super) const USED_TOKENS: u32 = 5;
    pub(super) const ALL_TOKENS: u32 = 6;
    pub(super) const TOKEN_USAGE: u32 = 7;
}

impl Loads {
    /// The method, by the engine that has it.
    pub const METHODS: [(&str, &str); 2] = [
        ("vllm", "/vllm.grpc.engine.VllmEngine/GetLoads"),
        ("sglang", "/sglang.grpc.scheduler.SglangScheduler/GetLoads"),
    ];
    /// `GetLoadsRequest` with `include: ["core"]`.
    pub(super) const REQUEST: &[u8] = b"\x12\x04core";

    /// Reads `GetLoadsResponse`: requests of all ranks together.
    pub(super) fn read(message: &[u8]) -> Result<Self, &'static str> {
        let (mut all, mut reader) = (Self::default(), Reader::new(message));
        let mut any = false;
        while let Some((number, value)) = reader.next()? {
            if let (field::LOADS, Value::Bytes(rank)) = (number, value) {
                let rank = Self::of_rank(rank)?;
                all.waiting = all.waiting.saturating_add(rank.waiting);
                all.running = all.running.saturating_add(rank.running);
                all.kv_used = [all.kv_used, rank.kv_used].into_iter().flatten().reduce(f64::max);
                any = true;
            }
        }
        if any { Ok(all) } else { Err("speaks of no rank") }
    }

    fn of_rank(message: &[u8]) -> Result<Self, &'static str> {
        let (mut rank, mut reader) = (Self::default(), Reader::new(message));
        let (mut used, mut size) = (0, 0);
        while let Some((number, value)) = reader.next()? {
            match (number, value) {
                (field::RUNNING, Value::Varint(count)) => rank.running = whole(count),
                (field::WAITING, Value::Varint(count)) => rank.waiting = whole(count),
                (field::USED_TOKENS, Value::Varint(count)) => used = whole(count),
                (field::ALL_TOKENS, Value::Varint(count)) => size = whole(count),
                (field::TOKEN_USAGE, Value::Fixed64(bits)) => rank.kv_used = Some(f64::from_bits(bits)),
                _ => {}
            }
        }
        // A share of nothing is not on the wire, no more than one that is not known: the tokens tell which.
        let known = rank.kv_used.filter(|share| (0.0..=1.0).contains(share));
        rank.kv_used = known.or((size > 0).then(|| f64::from(used.min(size)) / f64::from(size)));
        Ok(rank)
    }
}

/// An `int32`: what is below zero on the wire is a very large number.
fn whole(count: u64) -> u32 {
    u32::try_from(count).ok().filter(|count| i32::try_from(*count).is_ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn what_vllm_says_of_its_ranks_is_added_up() {
        // Written by the classes that its own server uses: two ranks, one with 300 requests that wait.
        let said = "0a13323032362d31312d32355430383a30303a30301206302e33332e301802221f101018ac0220bc0239000000000000d03f41\
                    00000000004a9340581060a01f220f08011004200439000000000000e03f";
        let loads = Loads::read(&bytes(said)).unwrap();
        assert_eq!(loads, Loads { waiting: 300, running: 20, kv_used: Some(0.5) });
    }

    #[test]
    fn memory_in_use_follows_from_tokens_where_no_share_is_said() {
        // By SGLang's classes: 600 of 1000 tokens, and a section for all ranks behind them.
        let said = "0a13323032362d31312d32355430383a30303a30301206302e352e32331801221a10031802200528d80430e807410000000000\
                    00244058408801282a00";
        let loads = Loads::read(&bytes(said)).unwrap();
        assert_eq!(loads, Loads { waiting: 2, running: 3, kv_used: Some(0.6) });
    }

    #[test]
    fn an_answer_without_ranks_or_cut_short_says_nothing_and_one_below_zero_counts_as_none() {
        assert!(Loads::read(b"").is_err());
        assert!(Loads::read(b"\x22\x05\x10").is_err());
        let below = [b"\x22\x0b\x10".as_slice(), &[0xff; 9], b"\x01"].concat();
        assert_eq!(Loads::read(&below), Ok(Loads::default()));
    }
}

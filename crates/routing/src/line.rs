//! How much a backend takes: up to its line and never past it. Hot path: no allocation, no lock, no await.
//!
//! What is sent too early is committed too early: in an engine's queue a request can go nowhere else and in no better order,
//! and memory that is promised twice is taken from somebody who writes already. So a backend gets what keeps it busy until
//! the next can be there, and the rest waits where all backends can still be had.

use crate::speed::STEP_TOKENS;
use crate::{Backend, Conditions, Config, RequestShape};

/// The line of backends, for one request.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    request: &'a RequestShape<'a>,
    pace: f32,
    /// Seconds of reading that a backend may have before it.
    prefill: f32,
    /// Prompt tokens that it may have to read.
    prompt_tokens: u64,
    /// The share of its memory that may be promised.
    kv_share: f32,
    /// Seconds that a token may take.
    itl: f32,
}

impl<'a> Line<'a> {
    /// The line that `config` draws for `request` in a pool under these conditions.
    #[must_use]
    pub fn of(request: &'a RequestShape<'a>, conditions: &Conditions, config: &Config) -> Self {
        let any = |limit: f32| if limit > 0.0 { limit } else { f32::INFINITY };
        Self {
            request,
            pace: conditions.pace,
            prefill: any(config.line_prefill.as_secs_f32()),
            prompt_tokens: if config.line_prompt_tokens == 0 { u64::MAX } else { config.line_prompt_tokens },
            kv_share: any(config.line_kv_share as f32),
            itl: conditions.slo.itl,
        }
    }

    /// The line for those that have most of the prompt already: what they have to read is no reason to read all of it elsewhere.
    pub(crate) fn for_holders(self) -> Self {
        Self { prefill: f32::INFINITY, ..self }
    }

    /// Whether `backend` is below it, so that the request may go there. One that is idle takes any request.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self, backend: &Backend) -> bool {
        if backend.is_limited() && !self.is_within_limits(backend) {
            return false;
        }
        let in_flight = backend.load.in_flight();
        if in_flight == 0 {
            return backend.most > 0;
        }
        (in_flight as f32) < backend.most as f32 * backend.weight()
            && backend.load.queued_tokens() < self.prompt_tokens
            && self.is_read_soon(backend)
            && self.has_memory(backend)
            && self.writes_in_time(backend)
    }

    /// Whether its domains may have one more, and fewer requests are there than run at a time, where that was seen.
    #[cold]
    #[inline(never)]
    fn is_within_limits(&self, backend: &Backend) -> bool {
        backend.domains_have_room() && self.has_seat(backend)
    }

    /// Whether fewer requests are there than run at a time, where that was seen.
    fn has_seat(&self, backend: &Backend) -> bool {
        let in_flight = backend.load.in_flight();
        let Some(seats) = backend.capacity.seats().filter(|_| in_flight > 0) else { return true };
        in_flight as f32 + backend.others.running(self.request.now) < seats as f32
    }

    /// Whether what it has to read is less than it takes in one step, or will be read by the time that this request can be
    /// there, or soon after, or it reads more prompts at a time than are there unread. Where nothing says how many an
    /// address reads at a time, it takes any number.
    #[inline(always)]
    fn is_read_soon(&self, backend: &Backend) -> bool {
        let queued = backend.load.queued_seconds(self.request.now);
        queued <= STEP_TOKENS * backend.speed.token || self.is_read_in_time(backend, queued)
    }

    /// The same, of more than one step.
    fn is_read_in_time(&self, backend: &Backend, queued: f32) -> bool {
        let (prompts, unread) = (backend.capacity.prompts(), backend.load.unread());
        queued * backend.pace.read(self.request.now, self.pace)
            < (self.prefill + backend.round_trip()) * prompts
            || (unread > 0 && (unread as f32) < prompts)
            || !backend.reads_in_turn()
    }

    /// Whether all that stands against `backend` is what it is still to read.
    pub(crate) fn is_only_to_read(&self, backend: &Backend) -> bool {
        !self.is_read_soon(backend) && Self { prefill: f32::INFINITY, ..*self }.has_room(backend)
    }

    fn has_memory(&self, backend: &Backend) -> bool {
        let Some(line) = backend.line_tokens(self.kv_share) else { return true };
        let request = self.request.prompt_tokens + self.request.expected_output;
        // As `i64`, because no processor converts a `u64` in one instruction.
        backend.load.context() as i64 as f32 + request as f32 <= line
    }

    /// Whether one more sequence leaves tokens as fast as is promised, where something is.
    fn writes_in_time(&self, backend: &Backend) -> bool {
        self.itl == f32::INFINITY || backend.token_with_one_more(self.request) <= self.itl
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plimsoll_types::{BackendSpec, Instant};

    use super::*;
    use crate::snapshot::tests::{busy, shape, spec};
    use crate::{Report, Slo};

    /// One engine, of which nothing is known but that it is one.
    fn engine() -> Backend {
        let backend = Backend::new(0, spec("b"));
        backend.reported(Instant::ORIGIN, &Report { running: Some(0), ..Report::default() });
        backend
    }

    fn has_room(backend: &Backend, config: &Config) -> bool {
        Line::of(&shape(500), &Conditions::UNKNOWN, config).has_room(backend)
    }

    #[test]
    fn an_engine_gets_what_it_reads_in_a_step_and_what_it_has_read_soon() {
        let (backend, config) = (engine(), Config::default());
        busy(&backend, 1_500);
        assert!(has_room(&backend, &config));
        busy(&backend, 1_500);
        assert!(has_room(&backend, &config), "75 ms at the usual pace");
        backend.pace.measured(Instant::ORIGIN, 1.0, (1.0, 2.0));
        assert!(!has_room(&backend, &config), "and 150 ms at its own");
        let any = Config { line_prefill: Duration::ZERO, ..Config::default() };
        assert!(has_room(&backend, &any));
    }

    #[test]
    fn the_way_there_is_a_part_of_the_line() {
        let (backend, config) = (engine(), Config::default());
        busy(&backend, 6_000);
        assert!(!has_room(&backend, &config));
        backend.set_round_trip(Duration::from_millis(150));
        assert!(has_room(&backend, &config), "it would be idle before the next one comes");
    }

    #[test]
    fn an_address_behind_which_many_may_read_takes_any_number() {
        let backend = Backend::new(0, spec("b"));
        busy(&backend, 50_000);
        assert!(has_room(&backend, &Config::default()));
    }

    #[test]
    fn a_prompt_of_a_plain_request_counts_until_it_should_have_been_read() {
        let (backend, config) = (engine(), Config::default());
        backend.load.enter_whole(backend.share(&shape(8_000), 0), Instant::ORIGIN);
        assert!(!has_room(&backend, &config));
        let later = RequestShape { now: Instant::ORIGIN + Duration::from_millis(300), ..shape(500) };
        assert!(Line::of(&later, &Conditions::UNKNOWN, &config).has_room(&backend));
        assert_eq!((backend.load.in_flight(), backend.load.decoding()), (1, 1));
        assert!((8_000..10_000).contains(&backend.unread_tokens(Instant::ORIGIN)), "others are told of it");
        assert_eq!(backend.unread_tokens(later.now), 0);
    }

    #[test]
    fn no_more_are_written_at_a_time_than_what_is_promised_allows() {
        let (backend, config) = (engine(), Config::default());
        backend.reported(Instant::ORIGIN, &Report { running: Some(200), ..Report::default() });
        busy(&backend, 1);
        let conditions = |itl: f32| Conditions { slo: Slo { itl, ..Slo::NONE }, ..Conditions::UNKNOWN };
        let at = |itl: f32| Line::of(&shape(500), &conditions(itl), &config).has_room(&backend);
        assert_eq!((at(0.01), at(0.007)), (true, false), "a token takes 7.6 ms there");
    }

    #[test]
    fn memory_is_promised_up_to_its_share() {
        let backend = Backend::new(0, BackendSpec { kv_tokens: Some(10_000), ..spec("b") });
        busy(&backend, 8_700);
        let config =
            |line_kv_share| Config { line_kv_share, line_prefill: Duration::ZERO, ..Config::default() };
        assert!(!has_room(&backend, &config(0.95)));
        assert!(has_room(&backend, &config(0.96)) && has_room(&backend, &config(0.0)));
    }
}

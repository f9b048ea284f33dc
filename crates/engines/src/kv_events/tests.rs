use proptest::prelude::*;

use super::*;

/// What vLLM 0.32 published: sequence numbers and payloads.
fn recorded() -> Vec<(u64, Vec<u8>)> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = include_str!("tests/vllm-0.32.hex").lines().filter(|line| !line.starts_with('#'));
    let message = |line: &str| {
        let (sequence, hex) = line.split_once(' ').unwrap();
        (sequence.parse().unwrap(), hex.as_bytes().chunks(2).map(byte).collect())
    };
    lines.map(message).collect()
}

fn text(of: &str) -> Vec<u8> {
    [&[0xa0 | of.len() as u8], of.as_bytes()].concat()
}

/// A batch made at `at` of events that are written already.
fn batch(at: f64, events: &[Vec<u8>]) -> Vec<u8> {
    [&[0x93, 0xcb], at.to_be_bytes().as_slice(), &[0x90 | events.len() as u8], &events.concat(), &[0xc0]]
        .concat()
}

fn hashes(count: u8) -> Vec<u8> {
    // As bytes, as a negative number and as a small one: all have been seen.
    let each = [[0xc4, 2, 7, 7].as_slice(), &[0xd3, 0xff, 0, 0, 0, 0, 0, 0, 1], &[5]];
    let hashes = (0..count).flat_map(|index| each[usize::from(index) % 3].to_vec());
    [[0x90 | count].to_vec(), hashes.collect()].concat()
}

fn removed_map(count: u8, medium: &str, group: u8) -> Vec<u8> {
    [
        vec![0x85],
        [text("type"), text("BlockRemoved")].concat(),
        [text("later"), vec![0x81, 0x01, 0x92, 0xc3, 0xd5, 1, 2, 3]].concat(),
        [text("block_hashes"), hashes(count)].concat(),
        [text("medium"), text(medium)].concat(),
        [text("group_idx"), vec![group]].concat(),
    ]
    .concat()
}

fn removed_array(count: u8) -> Vec<u8> {
    [vec![0x93], text("BlockRemoved"), hashes(count), text("GPU")].concat()
}

fn stored_array(count: u8, tokens: u8) -> Vec<u8> {
    [vec![0x96], text("BlockStored"), hashes(count), vec![0xc0, 0x92, 1, 2, tokens, 0xc0]].concat()
}

fn events(payload: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    decode(payload, &mut |event| events.push(event)).unwrap();
    events
}

fn hear(tracker: &mut Tracker, sequence: u64, payload: &[u8]) -> (Heard, Vec<Change>) {
    let mut changes = Vec::new();
    let heard = tracker.hear(sequence, payload, &mut |change| changes.push(change)).unwrap();
    (heard, changes)
}

#[test]
fn what_vllm_published_is_understood() {
    let mut tracker = Tracker::new(0);
    let mut stored = 0;
    for (sequence, payload) in recorded() {
        for event in events(&payload) {
            let Event::Stored { blocks, block_tokens: 128 } = event else { panic!("{event:?}") };
            stored += u64::from(blocks);
        }
        assert_eq!(hear(&mut tracker, sequence, &payload), (Heard::Taken, vec![]));
    }
    assert_eq!((recorded().len(), stored, tracker.cached()), (29, 43, 43 * 128));
}

#[test]
fn events_are_read_in_both_encodings_and_of_the_first_group_on_the_gpu() {
    let cleared = [vec![0x91], text("AllBlocksCleared")].concat();
    let unknown = [vec![0x92], text("BlockMoved"), vec![0x80]].concat();
    let all = batch(
        1.0,
        &[
            stored_array(3, 16),
            removed_map(2, "GPU", 0),
            removed_map(2, "CPU", 0),
            removed_map(2, "GPU", 1),
            unknown,
            removed_array(1),
            cleared,
        ],
    );
    let expected = [
        Event::Stored { blocks: 3, block_tokens: 16 },
        Event::Removed { blocks: 2 },
        Event::Removed { blocks: 1 },
        Event::Cleared,
    ];
    assert_eq!(events(&all), expected);
}

#[test]
fn an_eviction_says_how_much_of_what_was_cached_went() {
    let mut tracker = Tracker::new(0);
    hear(&mut tracker, 0, &batch(1.0, &[stored_array(10, 16)]));
    let (_, changes) = hear(&mut tracker, 1, &batch(2.0, &[removed_array(2), stored_array(2, 16)]));
    assert_eq!(changes, [Change::Evicted { tokens: 32, of: 160 }]);
    assert_eq!(tracker.cached(), 160);
    let mut late = Tracker::new(1_600);
    hear(&mut late, 70, &batch(1.0, &[stored_array(1, 16)]));
    let (_, changes) = hear(&mut late, 71, &batch(2.0, &[removed_array(2)]));
    assert_eq!(
        changes,
        [Change::Evicted { tokens: 32, of: 1_600 }],
        "who joins late knows what there is room for"
    );
}

#[test]
fn what_was_missed_is_asked_for_or_all_is_forgotten() {
    let recorded = recorded();
    let mut tracker = Tracker::new(0);
    let mut say = |sequence: usize| hear(&mut tracker, sequence as u64, &recorded[sequence].1);
    assert_eq!(say(0), (Heard::Taken, vec![]));
    assert_eq!(say(3), (Heard::Missed(1), vec![]));
    for replayed in 1..=4 {
        assert_eq!(say(replayed), (Heard::Taken, vec![]));
    }
    assert_eq!(say(4), (Heard::Again, vec![]), "it came live too");
    assert_eq!(say(9), (Heard::Missed(5), vec![]));
    let mut lost = Vec::new();
    tracker.lose(&mut |change| lost.push(change));
    assert_eq!((lost, tracker.cached()), (vec![Change::Cleared], 0));
    assert_eq!(hear(&mut tracker, 9, &recorded[9].1), (Heard::Taken, vec![]));
}

#[test]
fn an_engine_that_was_started_again_has_nothing_cached() {
    let mut tracker = Tracker::new(0);
    for sequence in 0..5 {
        hear(&mut tracker, sequence, &batch(10.0 + sequence as f64, &[stored_array(1, 16)]));
    }
    let (heard, changes) = hear(&mut tracker, 1, &batch(60.0, &[stored_array(2, 16)]));
    assert_eq!((heard, changes, tracker.cached()), (Heard::Taken, vec![Change::Cleared], 32));
    assert_eq!(hear(&mut tracker, 2, &batch(61.0, &[])).0, Heard::Taken);
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &mut |_| {});
    }

    #[test]
    fn a_message_that_was_damaged_is_refused_or_read(
        which in 0_usize..29,
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (sequence, mut payload) = recorded().swap_remove(which);
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = Tracker::new(0).hear(sequence, &payload, &mut |_| {});
        let _ = decode(&payload[..cut.index(payload.len())], &mut |_| {});
    }
}

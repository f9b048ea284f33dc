//! The words that simulated answers are made of. A phrase begins with its space, so that phrases join to text.

/// How every answer begins.
pub(super) const PREAMBLE: &str =
    "This answer is simulated: no model has read the question, and what follows is filler.";

/// What may stand before the subject.
pub(super) const OPENINGS: &[&str] = &[
    " In the morning",
    " By evening",
    " Without any hurry",
    " At the turn of the tide",
    " For the most part",
    " Every now and then",
    " On the far side of the basin",
    " After a long night",
    " Once the fog has lifted",
    " In plain weather",
    " A little later",
    " When the wind allows it",
];

/// `the` at the beginning of a sentence, in the middle of one, and at the beginning of a paragraph.
pub(super) const THE: [&str; 3] = [" The", " the", "The"];

/// Who acts.
pub(super) const SUBJECTS: &[&str] = &[
    " harbour master",
    " old pilot",
    " night watch",
    " first mate",
    " cook",
    " surveyor",
    " crane driver",
    " lighthouse keeper",
    " captain of the ferry",
    " youngest sailor",
    " clerk in the office",
    " tug",
    " schooner",
    " freighter from the north",
    " small grey boat",
];

/// What they do.
pub(super) const VERBS: &[&str] = &[
    " watches",
    " measures",
    " follows",
    " remembers",
    " carries",
    " repairs",
    " counts",
    " describes",
    " weighs",
    " keeps",
    " sketches",
    " signals to",
    " passes",
    " inspects",
    " waits for",
];

/// To what.
pub(super) const OBJECTS: &[&str] = &[
    " the load line",
    " a quiet ledger",
    " every crate of oranges",
    " the outgoing tide",
    " a length of rope",
    " the painted mark on the hull",
    " an even keel",
    " the next ship",
    " a drawing of the coast",
    " the heavy anchor",
    " a cargo of timber and salt",
    " the lamps along the pier",
    " two barrels of water",
    " the chart of the channel",
];

/// Where and when.
pub(super) const PLACES: &[&str] = &[
    " at the quay",
    " before noon",
    " beside the warehouse",
    " with great care",
    " beyond the breakwater",
    " in the lee of the island",
    " without a word",
    " under a pale sky",
    " near the customs house",
    " until the bell rings",
];

/// What joins two halves of a sentence.
pub(super) const JOINTS: &[&str] = &[", and", ", while", ", because", ", so", ", but"];

/// What ends a sentence, and what ends a paragraph.
pub(super) const ENDS: [&str; 2] = [".", "\n\n"];

/// Every phrase that an answer may be made of.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let lists = [OPENINGS, &THE, SUBJECTS, VERBS, OBJECTS, PLACES, JOINTS, &ENDS];
    // A paragraph begins without the space.
    let beginnings = OPENINGS.iter().map(|opening| opening.trim_start());
    std::iter::once(PREAMBLE).chain(lists.into_iter().flatten().copied()).chain(beginnings)
}

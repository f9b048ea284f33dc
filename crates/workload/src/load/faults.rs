//! What went wrong, in words and counted: a report that says "40 refused" must also say why.

use std::collections::BTreeMap;

/// Kinds that are told apart; endpoints that put a number into each message must not fill the memory.
const KINDS: usize = 8;
/// Characters of a message that are kept.
const LENGTH: usize = 160;

/// Sentences and how often each was heard.
#[derive(Debug, Default)]
pub(super) struct Faults {
    heard: BTreeMap<String, u64>,
    others: u64,
}

impl Faults {
    pub(super) fn note(&mut self, fault: &str) {
        let line: String = fault.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LENGTH).collect();
        if let Some(count) = self.heard.get_mut(&line) {
            *count += 1;
        } else if self.heard.len() < KINDS {
            self.heard.insert(line, 1);
        } else {
            self.others += 1;
        }
    }

    /// One line for each kind, the most frequent first.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut heard: Vec<_> = self.heard.iter().collect();
        heard.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut lines: Vec<String> = heard
            .into_iter()
            .map(|(fault, count)| format!("{count} request{}: {fault}", if *count == 1 { "" } else { "s" }))
            .collect();
        if self.others > 0 {
            lines.push(format!("{} more with other messages", self.others));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_faults_are_one_line_and_endless_variety_is_bounded() {
        let mut faults = Faults::default();
        faults.note("404: no such model");
        faults.note("the connection was refused");
        faults.note("the connection was refused");
        assert_eq!(
            faults.lines(),
            ["2 requests: the connection was refused", "1 request: 404: no such model"]
        );
        for number in 0..100 {
            faults.note(&format!("500: request {number}"));
        }
        assert_eq!(faults.lines().len(), KINDS + 1);
        assert_eq!(faults.lines().last().unwrap(), "94 more with other messages");
    }
}

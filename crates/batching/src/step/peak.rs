use super::SequenceId;

/// Foresees how much memory those who run will need at the worst moment.
///
/// All who decode write one token a step, so memory is fullest just before somebody ends: with the sequences in the
/// order of their ends, the last first, it then holds what the first i hold now and i times what the i-th is still to
/// write (LightLLM). From step to step that order hardly changes, so keeping it costs one look at each sequence.
#[derive(Debug)]
pub(super) struct Peak {
    /// In descending order of growth.
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    id: SequenceId,
    demand: Demand,
}

/// What a sequence asks of memory, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// What it will hold in addition before it ends.
    pub(super) growth: u32,
    /// What it holds as soon as its prompt has been read.
    pub(super) held: u32,
}

impl Peak {
    /// Room for so many sequences.
    pub(super) fn new(sequences: usize) -> Self {
        Self { rows: Vec::with_capacity(sequences) }
    }

    /// Brings everybody's demand up to date; who is `None` runs no longer.
    pub(super) fn refresh(&mut self, demand: impl Fn(SequenceId) -> Option<Demand>) {
        self.rows.retain_mut(|row| demand(row.id).map(|demand| row.demand = demand).is_some());
        // Insertion sort: the rows are in order already but for a few.
        for index in 1..self.rows.len() {
            let row = self.rows[index];
            let mut at = index;
            while at > 0 && self.rows[at - 1].demand.growth < row.demand.growth {
                self.rows[at] = self.rows[at - 1];
                at -= 1;
            }
            self.rows[at] = row;
        }
    }

    /// Tokens at the worst moment if one with this demand joins.
    pub(super) fn with(&self, demand: Demand) -> u64 {
        let place = self.place(demand);
        let (before, after) = self.rows.split_at(place);
        let rows = before.iter().map(|row| row.demand);
        let rows = rows.chain(std::iter::once(demand)).chain(after.iter().map(|row| row.demand));
        let (mut held, mut worst) = (0, 0);
        for (count, demand) in (1_u64..).zip(rows) {
            held += u64::from(demand.held);
            worst = worst.max(held + count * u64::from(demand.growth));
        }
        worst
    }

    /// One joins.
    pub(super) fn join(&mut self, id: SequenceId, demand: Demand) {
        self.rows.insert(self.place(demand), Row { id, demand });
    }

    fn place(&self, demand: Demand) -> usize {
        self.rows.partition_point(|row| row.demand.growth >= demand.growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(growth: u32, held: u32) -> Demand {
        Demand { growth, held }
    }

    fn id(slot: u32) -> SequenceId {
        SequenceId { slot, generation: 0 }
    }

    #[test]
    fn memory_is_fullest_just_before_somebody_ends() {
        let mut peak = Peak::new(4);
        assert_eq!(peak.with(demand(5, 10)), 15);
        peak.join(id(0), demand(100, 10));
        peak.join(id(1), demand(10, 200));
        // Just before the end of 1: 210 held, 10 steps of two. At the end of 0: 110 of it alone.
        assert_eq!(peak.with(demand(0, 0)), 230);
        assert_eq!(peak.with(demand(50, 1)), 10 + 200 + 1 + 3 * 10);
        assert_eq!(peak.with(demand(120, 100)), 100 + 10 + 200 + 3 * 10);
        assert_eq!(peak.with(demand(2_000, 1)), 2_001);
    }

    #[test]
    fn the_order_is_kept_when_demands_change_and_some_leave() {
        let mut peak = Peak::new(4);
        for slot in 0..4 {
            peak.join(id(slot), demand(slot, 1));
        }
        let growth = [7, 0, 9, 3];
        peak.refresh(|id| (id.slot != 1).then(|| demand(growth[id.slot as usize], 1)));
        let order: Vec<u32> = peak.rows.iter().map(|row| row.id.slot).collect();
        assert_eq!(order, [2, 0, 3]);
    }
}

//! A heap whose members know where they stand, so that each can be moved or taken out of the middle.

/// Children of one place: four are in one or two cache lines, and the heap is half as deep as with two.
const CHILDREN: usize = 4;

/// Numbers by their keys, the least first. Whoever calls keeps the places, which `moved` tells: number, place.
#[derive(Debug, Default)]
pub(super) struct Heap(Vec<(u64, u32)>);

impl Heap {
    /// The least key and its number.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.0.first().copied()
    }

    pub(super) fn push(&mut self, item: (u64, u32), moved: impl FnMut(u32, u32)) {
        self.0.push(item);
        self.rise(self.0.len() - 1, moved);
    }

    /// Takes out what stands at `place`.
    pub(super) fn remove(&mut self, place: u32, moved: impl FnMut(u32, u32)) {
        let place = place as usize;
        self.0.swap_remove(place);
        if place < self.0.len() {
            self.settle(place, moved);
        }
    }

    /// Gives what stands at `place` another key.
    pub(super) fn change(&mut self, (place, key): (u32, u64), moved: impl FnMut(u32, u32)) {
        self.0[place as usize].0 = key;
        self.settle(place as usize, moved);
    }

    fn settle(&mut self, place: usize, moved: impl FnMut(u32, u32)) {
        if place > 0 && self.0[place] < self.0[(place - 1) / CHILDREN] {
            self.rise(place, moved);
        } else {
            self.sink(place, moved);
        }
    }

    fn rise(&mut self, mut place: usize, mut moved: impl FnMut(u32, u32)) {
        let item = self.0[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.0[parent] <= item {
                break;
            }
            self.0[place] = self.0[parent];
            moved(self.0[place].1, place as u32);
            place = parent;
        }
        self.0[place] = item;
        moved(item.1, place as u32);
    }

    fn sink(&mut self, mut place: usize, mut moved: impl FnMut(u32, u32)) {
        let item = self.0[place];
        loop {
            let first = place * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.0.len());
            let Some(least) = children.min_by_key(|child| self.0[*child]) else { break };
            if item <= self.0[least] {
                break;
            }
            self.0[place] = self.0[least];
            moved(self.0[place].1, place as u32);
            place = least;
        }
        self.0[place] = item;
        moved(item.1, place as u32);
    }
}

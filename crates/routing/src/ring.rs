//! Where a prompt is at home: the same backend on every gateway, without a word between them. Hot path: no allocation,
//! no lock, no await.

use plimsoll_types::blocks;

/// The members of a pool on a ring of hashes, each at several places, so that shares are about even and a member that comes
/// or goes moves no more than its own.
///
/// It hangs on names alone: gateways with the same configuration have the same ring.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    places: Box<[(u64, u32)]>,
}

/// Places of all members together, more or less; in a pool of more members, one each.
const PLACES: usize = 4_096;
/// Places of one member in the most: shares of a small pool are then within some tenth of each other.
const MOST: usize = 128;

impl Ring {
    /// The ring of members with these names.
    pub(crate) fn new<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let each = (PLACES / names.len().max(1)).clamp(1, MOST) as u32;
        let places = names.zip(0..).flat_map(|(name, member)| {
            (0..each).map(move |place| (blocks::seed(&[name.as_bytes(), &place.to_le_bytes()]), member))
        });
        let mut places: Box<[(u64, u32)]> = places.collect();
        places.sort_unstable();
        Self { places }
    }

    /// The members from `key` on, around the ring once; a member comes as often as it has places.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let first = self.places.partition_point(|(place, _)| *place < key);
        let (before, after) = self.places.split_at(first);
        after.iter().chain(before).map(|(_, member)| *member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(names: &[String]) -> Ring {
        Ring::new(names.iter().map(String::as_str))
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("gpu-{number}")).collect()
    }

    fn key(number: u64) -> u64 {
        blocks::seed(&[&number.to_le_bytes()])
    }

    fn homes(names: &[String]) -> Vec<String> {
        let ring = ring(names);
        (0..20_000).map(|number| names[ring.from(key(number)).next().unwrap() as usize].clone()).collect()
    }

    #[test]
    fn homes_are_about_even() {
        let names = names(8);
        let homes = homes(&names);
        for name in &names {
            let count = homes.iter().filter(|home| *home == name).count();
            assert!((1_900..3_200).contains(&count), "{name}: {count}");
        }
    }

    #[test]
    fn who_leaves_moves_only_what_was_at_home_there() {
        let (eight, mut seven) = (names(8), names(8));
        seven.remove(2);
        for (before, after) in homes(&eight).iter().zip(homes(&seven)) {
            assert!(*before == after || before == "gpu-2");
        }
    }

    #[test]
    fn the_way_around_passes_everybody() {
        let names = names(5);
        let mut passed: Vec<u32> = ring(&names).from(key(1)).collect();
        passed.sort_unstable();
        passed.dedup();
        assert_eq!(passed, [0, 1, 2, 3, 4]);
        assert_eq!(ring(&[]).from(7).next(), None);
    }
}

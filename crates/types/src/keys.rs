use std::ops::RangeInclusive;
use std::time::Duration;

/// The name of a configuration key and what it does, in one sentence for the reference.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What it does, units included.
    pub doc: &'static str,
}

impl Key {
    /// A key and its documentation.
    #[must_use]
    pub const fn new(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc }
    }
}

/// A section of the configuration file: a plain struct that names its keys.
///
/// The keys are named once. Whoever walks them either reads a file into the fields or writes the reference from
/// their defaults, so the two cannot differ.
pub trait Section {
    /// Shows every key with the field that holds its value; the field holds the default when this is called.
    fn keys(&mut self, keys: &mut dyn Keys);
}

/// Sections in a list, one for each item of the file.
pub trait List {
    /// A new item with its defaults, at the end.
    fn add(&mut self) -> &mut dyn Section;
}

impl<T: Section + Default> List for Vec<T> {
    fn add(&mut self) -> &mut dyn Section {
        self.push(T::default());
        self.last_mut().expect("an item was just pushed")
    }
}

/// Walks the keys of a [`Section`].
pub trait Keys {
    /// A whole number in a range.
    fn number(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut u64);
    /// A number with a fraction in a range.
    fn decimal(&mut self, key: Key, range: RangeInclusive<f64>, value: &mut f64);
    /// A duration, written in milliseconds.
    fn millis(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut Duration);
    /// `true` or `false`.
    fn flag(&mut self, key: Key, value: &mut bool);
    /// Text; `${NAME}` stands for an environment variable.
    fn text(&mut self, key: Key, value: &mut String);
    /// Text that must not be shown again; `NAME_file` may name a file that holds it.
    fn secret(&mut self, key: Key, value: &mut String);
    /// One of a few words.
    fn choice(&mut self, key: Key, among: &'static [&'static str], value: &mut &'static str);
    /// A list of texts.
    fn texts(&mut self, key: Key, value: &mut Vec<String>);
    /// Names of the user's choice, each with a text.
    fn map(&mut self, key: Key, value: &mut Vec<(String, String)>);
    /// A section inside this one.
    fn section(&mut self, key: Key, value: &mut dyn Section);
    /// A list of sections.
    fn list(&mut self, key: Key, value: &mut dyn List);
    /// Reports that a value, though of the right form, cannot stand: `name` is a key of this section.
    fn wrong(&mut self, name: &'static str, why: String);
}

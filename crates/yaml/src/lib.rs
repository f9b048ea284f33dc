//! Reads a YAML file into sections, and says of everything that is wrong where it stands.
//!
//! A [`Section`](plimsoll_types::Section) is a plain struct that names its keys once. [`read`] fills it from a file;
//! whatever cannot be is a [`Problem`] with file, line and key, all of them at once. [`reference()`] writes down the
//! keys for people. The gateway's configuration and the simulator's scenarios are read and documented here.

mod read;
mod reference;

pub use read::{Problem, read};
pub use reference::reference;

use plimsoll_types::{Key, Keys, Section};

use super::BackendConfig;
use super::check::check_names;

/// A file with backends and nothing else.
struct Listed<'t> {
    backends: Vec<BackendConfig>,
    /// Names that the configuration has.
    taken: &'t [String],
}

impl Section for Listed<'_> {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.list(Key::new("backends", "The backends."), &mut self.backends);
        check_names(&self.backends, keys);
        for backend in &self.backends {
            if self.taken.contains(&backend.name) {
                keys.wrong("backends", format!("{:?} is a backend of the configuration too", backend.name));
            }
        }
    }
}

/// Reads the backends in `text`, which came from `file`, beside those of the configuration, whose names are `taken`.
///
/// # Errors
///
/// All that is wrong, in the order of the file.
pub(crate) fn read_listed(
    file: &str,
    text: &str,
    taken: &[String],
) -> Result<Vec<BackendConfig>, Vec<String>> {
    let mut listed = Listed { backends: Vec::new(), taken };
    match plimsoll_yaml::read(file, text, &mut listed) {
        Ok(()) => Ok(listed.backends),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_backends_and_nothing_else_and_says_where_something_is_wrong() {
        let read = |text: &str| read_listed("fleet.yaml", text, &["a".to_owned()]);
        assert_eq!(read("backends: [{name: b, url: \"http://h\"}]\n").unwrap()[0].name, "b");
        assert!(read("").unwrap().is_empty());
        let wrong = |text: &str| read(text).unwrap_err().join("\n");
        assert!(wrong("threads: 2\n").starts_with("fleet.yaml:1: threads: is not a key"));
        assert_eq!(
            wrong("backends:\n  - {name: b, url: \"ftp://h\"}\n"),
            "fleet.yaml:2: backends[0].url: must begin with http:// or https://"
        );
        let taken = wrong("backends:\n  - {name: a, url: \"http://h\"}\n");
        assert!(taken.contains("\"a\" is a backend of the configuration too"), "{taken}");
    }
}

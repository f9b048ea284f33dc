use plimsoll_types::Keys;

use super::{BackendConfig, Config};

/// What was said on the command line. It counts before what a file says, also when the file is read again.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where callers are served.
    pub listen: Option<String>,
    /// Where operators are served.
    pub admin: Option<String>,
    /// Cores to use.
    pub threads: Option<u64>,
    /// Whether callers beyond loopback may come without a key; a file may say so too.
    pub allow_anyone: bool,
    /// Addresses of backends, where the file has none.
    pub backends: Vec<String>,
    /// Engines in this process, `KIND=WHAT`, where the file has no backends.
    pub engines: Vec<String>,
}

impl Config {
    /// Puts what was said on the command line in the place of what the file says.
    pub(super) fn override_keys(&mut self, keys: &mut dyn Keys) {
        let said = self.overrides.clone();
        self.listen = said.listen.unwrap_or(std::mem::take(&mut self.listen));
        self.admin = said.admin.unwrap_or(std::mem::take(&mut self.admin));
        self.threads = said.threads.unwrap_or(self.threads);
        self.allow_anyone |= said.allow_anyone;
        let backends = said.backends.iter().map(|url| ("--backend", url, url.clone()));
        // `llama=model.gguf` is as good as a backend at `llama:model.gguf`.
        let engines = said.engines.iter().map(|said| ("--engine", said, said.replacen('=', ":", 1)));
        let all: Vec<_> = backends.chain(engines).collect();
        if all.is_empty() {
            return;
        }
        if !self.backends.is_empty() {
            return keys.wrong("backends", format!("are given in the file and by {}; one must go", all[0].0));
        }
        for (index, (switch, said, url)) in all.into_iter().enumerate() {
            let backend = BackendConfig::at(format!("b{}", index + 1), url);
            let invalid = match backend.is_in_process() {
                false if switch == "--engine" => Some("must be llama=FILE".to_owned()),
                _ => backend.unreachable().map(|invalid| invalid.why),
            };
            if let Some(why) = invalid {
                keys.wrong("backends", format!("{switch} {said}: {why}"));
            }
            self.backends.push(backend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    #[test]
    fn what_the_command_line_says_counts_before_the_file() {
        let said = Overrides { listen: Some("0.0.0.0:1".into()), allow_anyone: true, ..Overrides::default() };
        let config = read("local.yaml", "listen: 127.0.0.1:2\n", &said).unwrap();
        assert_eq!(config.listen, "0.0.0.0:1");
        let said = Overrides { backends: vec!["http://h".into(), "ftp://h".into()], ..Overrides::default() };
        let why = read("local.yaml", "", &said).unwrap_err()[0].to_string();
        assert!(why.ends_with("backends: --backend ftp://h: must begin with http:// or https://"), "{why}");
    }
}

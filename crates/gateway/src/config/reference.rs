//! Writes `docs/config.md` from the sections themselves.

use super::Config;

/// The reference of all keys with their defaults.
#[must_use]
pub fn reference() -> String {
    let tables = plimsoll_yaml::reference(&mut Config::default());
    format!(
        "# Configuration\n\nOne YAML file; `plimsoll check FILE` says all that is wrong with one. Every key may be left \
         out, and an empty file serves. `${{NAME}}` stands for an environment variable, `${{NAME:-other}}` for another text where it is not set, and `$${{` for `${{` itself. Times are in milliseconds or have a unit (`30s`, `5m`), sizes in bytes too (`8MiB`). Keys that begin with `x-` are passed over. The file is read again \
         on SIGHUP, on `POST /reload` and when it changes; `listen`, `admin`, `threads` and `tls` need a restart. Written from the code by \
         `make docs`.\n{tables}",
    )
}

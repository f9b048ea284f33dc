//! Where callers and operators are served, and who may come there.

use std::net::{IpAddr, SocketAddr};

use plimsoll_types::Keys;

use super::Config;

impl Config {
    /// Where callers are served.
    ///
    /// # Errors
    ///
    /// Where that is not an address.
    pub fn listen_address(&self) -> Result<SocketAddr, String> {
        address(&self.listen)
    }

    /// Where operators are served.
    ///
    /// # Errors
    ///
    /// Where that is not an address.
    pub fn admin_address(&self) -> Result<SocketAddr, String> {
        address(&self.admin)
    }

    /// Whoever can come from elsewhere must have been meant to.
    pub(super) fn check_listeners(&self, keys: &mut dyn Keys) {
        match address(&self.listen) {
            Err(why) => keys.wrong("listen", why),
            Ok(address) if !is_loopback(address) && self.keys.is_empty() && !self.allow_anyone => keys.wrong(
                "listen",
                format!("{address} is reachable from elsewhere and there are no keys; add `keys`, or say `allow_anyone: true`"),
            ),
            Ok(_) => {}
        }
        match address(&self.admin) {
            Err(why) => keys.wrong("admin", why),
            Ok(admin) if self.admin == self.listen && admin.port() != 0 => {
                keys.wrong("admin", "is the same address as listen".into());
            }
            Ok(admin) if !is_loopback(admin) && !self.allow_remote_admin => {
                keys.wrong(
                    "admin",
                    format!("{admin} is reachable from elsewhere; say `allow_remote_admin: true`"),
                );
            }
            Ok(_) => {}
        }
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("{text:?} is not an address and port, such as 127.0.0.1:8080"))
}

pub(super) fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::problems;

    #[test]
    fn a_listener_beyond_loopback_needs_keys_or_a_word() {
        assert!(problems("listen: 0.0.0.0:8080\n")[0].contains("no keys"));
        assert!(problems("listen: 0.0.0.0:8080\nallow_anyone: true\n").is_empty());
        assert!(problems("admin: 0.0.0.0:9464\n")[0].contains("allow_remote_admin"));
        assert!(problems("listen: 0.0.0.0:8080\nkeys: [{tenant: a, key: sk-0123456789abcdef}]\n").is_empty());
    }
}

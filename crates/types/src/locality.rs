use std::fmt;

/// Where a backend is: cloud, region, zone and rack together. Each may be empty, which means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// The provider: `aws`, `azure`, `gcp`, `oci`, `coreweave`, or any other word.
    pub cloud: String,
    /// The provider's name of the region, such as `us-east-1`.
    pub region: String,
    /// The zone inside the region.
    pub zone: String,
    /// The rack in it, or whatever else fails as one there, such as an NVL72.
    pub rack: String,
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.cloud, &self.region, &self.zone, &self.rack];
        let mut said = parts.into_iter().filter(|part| !part.is_empty()).peekable();
        if said.peek().is_none() {
            return f.write_str("-");
        }
        while let Some(part) = said.next() {
            f.write_str(part)?;
            if said.peek().is_some() {
                f.write_str("/")?;
            }
        }
        Ok(())
    }
}

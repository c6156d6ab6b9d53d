//! What a process tells at `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The samples of one look, those that differ by labels added up.
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub fn read(http: SocketAddr) -> anyhow::Result<Self> {
        let text = ureq::get(format!("http://{http}/metrics")).call()?.body_mut().read_to_string()?;
        let mut samples: BTreeMap<String, f64> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            *samples.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(Self(samples))
    }

    /// 0 where there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// Histograms of seconds: name, how many, and their sum in seconds.
    pub fn times(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.0.iter().filter_map(|(name, sum)| {
            let name = name.strip_suffix("_seconds_sum")?;
            Some((name, self.get(&format!("{name}_seconds_count")), *sum))
        })
    }
}

//! Questions to DNS and their answers, as the checks need them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::{Atps, DomainKeyReport};
use mail_auth::dmarc::Dmarc;
use mail_auth::spf::Spf;
use mail_auth::{DnsError, Error, MX, Txt};

/// What is asked. Names are lower case and end with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Txt(Box<str>),
    Mx(Box<str>),
    Ipv4(Box<str>),
    Ipv6(Box<str>),
    Ptr(IpAddr),
}

impl Question {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Txt(name) | Self::Mx(name) | Self::Ipv4(name) | Self::Ipv6(name) => name.to_string(),
            Self::Ptr(address) => address.to_string(),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Txt(_) => "TXT",
            Self::Mx(_) => "MX",
            Self::Ipv4(_) => "A",
            Self::Ipv6(_) => "AAAA",
            Self::Ptr(_) => "PTR",
        }
    }
}

/// What DNS said.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// How long it may be kept.
    pub(super) keep: Duration,
}

#[derive(Clone)]
pub(super) enum Outcome {
    Txt(Txt),
    Mx(Arc<[MX]>),
    Ipv4(Arc<[Ipv4Addr]>),
    Ipv6(Arc<[Ipv6Addr]>),
    Ptr(Arc<[Box<str>]>),
    /// There are no such records. For TXT the error that the checks expect.
    Absent(Error),
    /// Nobody knows: a timeout, a server's failure.
    Failed(&'static str),
}

impl Answer {
    pub(super) fn failed(reason: &'static str) -> Self {
        Self { outcome: Outcome::Failed(reason), keep: Duration::ZERO }
    }

    /// One word for the verdict's list of lookups.
    pub(super) fn word(&self) -> &'static str {
        match &self.outcome {
            Outcome::Txt(Txt::Error(Error::Dns(DnsError::InvalidRecordType))) => "other records",
            Outcome::Txt(Txt::Error(_)) => "bad record",
            Outcome::Failed(reason) => reason,
            Outcome::Absent(_) => "none",
            _ => "found",
        }
    }
}

/// Parses TXT records by what their name says that they are.
pub(super) fn parse_txt(name: &str, records: &[Vec<u8>]) -> Txt {
    if name.starts_with("_report._domainkey.") {
        first::<DomainKeyReport>(records)
    } else if name.contains("._domainkey.") {
        first::<DomainKey>(records)
    } else if name.contains("._atps.") {
        first::<Atps>(records)
    } else if name.starts_with("_dmarc.") {
        // More than one policy is none (RFC 9989 section 4.7).
        only::<Dmarc>(records, b"v=dmarc1", Error::Dns(DnsError::InvalidRecordType))
    } else {
        // More than one policy is a permanent error (RFC 7208 section 4.5).
        only::<Spf>(records, b"v=spf1", Error::ParseError)
    }
}

fn first<T: TxtRecordParser + Into<Txt>>(records: &[Vec<u8>]) -> Txt {
    let mut result = Err(Error::Dns(DnsError::InvalidRecordType));
    for record in records {
        result = T::parse(record);
        if result.is_ok() {
            break;
        }
    }
    result.into()
}

fn only<T: TxtRecordParser + Into<Txt>>(records: &[Vec<u8>], tag: &[u8], if_several: Error) -> Txt {
    let mut ours = records.iter().filter(|record| {
        record.len() >= tag.len()
            && record[..tag.len()].eq_ignore_ascii_case(tag)
            && record.get(tag.len()).is_none_or(|next| b" \t;".contains(next))
    });
    match (ours.next(), ours.next()) {
        (Some(record), None) => T::parse(record).into(),
        (Some(_), Some(_)) => Txt::Error(if_several),
        (None, _) => Txt::Error(Error::Dns(DnsError::InvalidRecordType)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn policies_are_told_from_other_texts() {
        let found = parse_txt("example.org.", &records(&["site-verification=1", "v=spf1 -all"]));
        assert!(matches!(found, Txt::Spf(_)));
        let none = parse_txt("example.org.", &records(&["v=spf10 -all"]));
        assert!(matches!(none, Txt::Error(Error::Dns(DnsError::InvalidRecordType))));
    }

    #[test]
    fn two_spf_policies_are_an_error_and_two_dmarc_policies_are_none() {
        let spf = parse_txt("example.org.", &records(&["v=spf1 -all", "v=spf1 +all"]));
        assert!(matches!(spf, Txt::Error(Error::ParseError)));
        let dmarc = parse_txt("_dmarc.example.org.", &records(&["v=DMARC1; p=none", "v=DMARC1; p=reject"]));
        assert!(matches!(dmarc, Txt::Error(Error::Dns(DnsError::InvalidRecordType))));
    }
}

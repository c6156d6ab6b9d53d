//! Trace headers: Return-Path and Received (RFC 5321 section 4.4).

use std::fmt::Write;
use std::net::IpAddr;

use chrono::{DateTime, Utc};

use crate::Address;

/// What the trace headers say about a message.
pub(crate) struct Trace<'a> {
    pub(crate) reverse_path: Option<&'a Address>,
    pub(crate) forward_path: &'a [String],
    pub(crate) helo: &'a str,
    pub(crate) remote_ip: IpAddr,
    pub(crate) server_name: &'a str,
    pub(crate) is_esmtp: bool,
    pub(crate) is_tls: bool,
    pub(crate) is_smtputf8: bool,
    pub(crate) message_id: &'a str,
    pub(crate) at: DateTime<Utc>,
}

impl Trace<'_> {
    /// The headers, each line ended by CRLF. The recipient is named only when there is one: the others are nobody's
    /// business (RFC 5321 section 7.6).
    pub(crate) fn headers(&self) -> String {
        let mut text = String::with_capacity(512);
        let reverse_path = self.reverse_path.map_or("", Address::as_str);
        let _ = write!(text, "Return-Path: <{reverse_path}>\r\nReceived: from {} (", self.helo);
        let _ = match self.remote_ip.to_canonical() {
            IpAddr::V4(v4) => write!(text, "[{v4}])"),
            IpAddr::V6(v6) => write!(text, "[IPv6:{v6}])"),
        };
        let _ = write!(text, "\r\n\tby {} with {} id {}", self.server_name, self.protocol(), self.message_id);
        if let [only] = self.forward_path {
            let _ = write!(text, "\r\n\tfor <{only}>");
        }
        let _ = write!(text, ";\r\n\t{}\r\n", self.at.format("%a, %-d %b %Y %H:%M:%S +0000"));
        text
    }

    /// The registered names of RFC 3848 and RFC 6531 section 4.3.
    fn protocol(&self) -> &'static str {
        match (self.is_esmtp, self.is_smtputf8, self.is_tls) {
            (false, ..) => "SMTP",
            (true, false, false) => "ESMTP",
            (true, false, true) => "ESMTPS",
            (true, true, false) => "UTF8SMTP",
            (true, true, true) => "UTF8SMTPS",
        }
    }
}

/// Counts the Received headers of a message, up to `enough`.
pub(crate) fn received_headers(content: &[u8], enough: usize) -> usize {
    const NAME: &[u8] = b"received:";
    let mut found = 0;
    let mut rest = content;
    while found < enough && !rest.starts_with(b"\r\n") && !rest.is_empty() {
        found += usize::from(rest.get(..NAME.len()).is_some_and(|head| head.eq_ignore_ascii_case(NAME)));
        let Some(lf) = memchr::memchr(b'\n', rest) else { break };
        rest = &rest[lf + 1..];
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn trace_headers_follow_the_rfc() {
        let reverse_path = Address::parse("a@b.example").unwrap();
        let mut trace = Trace {
            reverse_path: Some(&reverse_path),
            forward_path: &["c@d.example".to_owned()],
            helo: "client.example",
            remote_ip: "192.0.2.7".parse().unwrap(),
            server_name: "mx.example",
            is_esmtp: true,
            is_tls: true,
            is_smtputf8: false,
            message_id: "01ID",
            at: DateTime::from_timestamp(1_000_000_000, 0).unwrap(),
        };
        assert_eq!(
            trace.headers(),
            "Return-Path: <a@b.example>\r\nReceived: from client.example ([192.0.2.7])\r\n\
             \tby mx.example with ESMTPS id 01ID\r\n\tfor <c@d.example>;\r\n\tSun, 9 Sep 2001 01:46:40 +0000\r\n"
        );
        let two = ["c@d.example".to_owned(), "e@f.example".to_owned()];
        trace.reverse_path = None;
        trace.forward_path = &two;
        trace.remote_ip = "2001:db8::1".parse().unwrap();
        trace.is_smtputf8 = true;
        let headers = trace.headers();
        assert!(headers.starts_with("Return-Path: <>\r\n") && headers.contains("([IPv6:2001:db8::1])"));
        assert!(headers.contains("with UTF8SMTPS id 01ID;\r\n\t") && !headers.contains("d.example"));
    }

    #[test]
    fn received_headers_are_counted_in_the_header_alone() {
        let content = b"Received: a\r\n\tb\r\nRECEIVED:c\r\nX-Received: d\r\n\r\nReceived: e\r\n";
        assert_eq!(received_headers(content, 99), 2);
        assert_eq!(received_headers(content, 1), 1);
        assert_eq!(received_headers(b"", 9), 0);
        assert_eq!(received_headers(b"\r\nReceived: x\r\n", 9), 0);
    }
}

//! EHLO, HELO and STARTTLS (RFC 5321 section 4.1.1.1, RFC 3207).

use crate::reply::{self, Reply};
use crate::session::{Session, Step};

/// How the client introduced itself.
#[derive(Clone, Debug)]
pub(super) struct Helo {
    pub(super) name: String,
    pub(super) is_esmtp: bool,
}

impl Session {
    /// The reply has several lines: all but the last are held here.
    pub(super) fn ehlo(&mut self, name: String) -> Step {
        let options = &self.reception.options;
        let start_tls = if options.tls.is_some() && !self.is_tls { "250-STARTTLS\r\n" } else { "" };
        let lines = format!(
            "250-{} greets {name}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n{start_tls}",
            options.server_name, options.max_message_bytes,
        );
        self.wire.hold_text(&lines);
        self.greet(name, true);
        Ok(Reply::new(250, "", "ENHANCEDSTATUSCODES"))
    }

    pub(super) fn helo(&mut self, name: String) -> Step {
        let text = format!("{} greets {name}", self.reception.options.server_name);
        self.greet(name, false);
        Ok(Reply::with(250, "", text))
    }

    fn greet(&mut self, name: String, is_esmtp: bool) {
        self.helo = Some(Helo { name, is_esmtp });
        self.transaction = None;
    }

    /// After the handshake nothing is known of the client any more: it must say EHLO again.
    pub(super) async fn start_tls(&mut self) -> Step {
        let Some(config) = self.reception.options.tls.clone() else { return Ok(reply::NOT_OFFERED) };
        if self.is_tls {
            return Ok(reply::TLS_ALREADY);
        }
        self.wire.hold(&reply::READY_FOR_TLS);
        self.wire.upgrade(config, self.reception.options.timeouts.handshake).await?;
        self.is_tls = true;
        self.helo = None;
        self.transaction = None;
        Ok(Reply::SILENT)
    }
}

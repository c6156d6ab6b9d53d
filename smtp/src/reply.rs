//! Replies: code, enhanced status (RFC 3463, RFC 2034) and text.

use std::borrow::Cow;

/// One reply of one line. Multi-line replies are those of EHLO and HELP alone, written where they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// Empty for replies that carry none: the greeting, 354.
    pub enhanced_status: &'static str,
    pub text: Cow<'static, str>,
}

impl Reply {
    /// No reply: after STARTTLS the handshake is the answer.
    pub(crate) const SILENT: Reply = Reply::new(0, "", "");

    pub const fn new(code: u16, enhanced_status: &'static str, text: &'static str) -> Self {
        Self { code, enhanced_status, text: Cow::Borrowed(text) }
    }

    pub fn with(code: u16, enhanced_status: &'static str, text: String) -> Self {
        Self { code, enhanced_status, text: Cow::Owned(text) }
    }

    pub fn is_rejection(&self) -> bool {
        self.code >= 400
    }

    /// Appends the line to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.code == 0 {
            return;
        }
        let digit = |n: u16| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[digit(self.code / 100), digit(self.code / 10), digit(self.code), b' ']);
        if !self.enhanced_status.is_empty() {
            out.extend_from_slice(self.enhanced_status.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

macro_rules! replies {
    ($($name:ident = $code:literal $status:literal $text:literal;)*) => {
        $(pub(crate) const $name: Reply = Reply::new($code, $status, $text);)*
    };
}

replies! {
    READY_FOR_TLS = 220 "2.0.0" "Ready to start TLS";
    BYE = 221 "2.0.0" "Bye";
    OK = 250 "2.0.0" "Ok";
    SENDER_OK = 250 "2.1.0" "Ok";
    RECIPIENT_OK = 250 "2.1.5" "Ok";
    CANNOT_VERIFY = 252 "2.5.2" "Addresses are not verified here; send the mail and it will be tried";
    GO_AHEAD = 354 "" "End data with <CRLF>.<CRLF>";

    TOO_MANY_CONNECTIONS = 421 "4.3.2" "Too many connections; try again later";
    TOO_MANY_FROM_ADDRESS = 421 "4.7.0" "Too many connections from your address; try again later";
    SHUTTING_DOWN = 421 "4.3.2" "The server is shutting down; try again";
    TIMED_OUT = 421 "4.4.2" "Timed out waiting for you; closing the connection";
    SESSION_TOO_LONG = 421 "4.4.2" "The session has lasted too long; connect again";
    TOO_MANY_ERRORS = 421 "4.7.0" "Too many errors; closing the connection";
    TOO_MANY_COMMANDS = 421 "4.7.0" "Too many commands without a message; closing the connection";
    NOT_SMTP = 421 "4.7.0" "This is a mail server that speaks SMTP only";
    DIRECTORY_UNAVAILABLE = 451 "4.3.0" "Recipients cannot be looked up now; try again later";
    OVER_QUOTA = 452 "4.2.2" "The mailbox is full; try again later";
    NO_STORAGE = 452 "4.3.1" "The message cannot be stored now; try again later";
    NO_MEMORY = 452 "4.3.1" "Too many messages are being received; try again later";
    TOO_MANY_RECIPIENTS = 452 "4.5.3" "Too many recipients; send the rest in another transaction";

    UNKNOWN_COMMAND = 500 "5.5.2" "Command not recognised";
    LINE_TOO_LONG = 500 "5.5.2" "The command line is too long";
    BARE_LINE_END = 500 "5.5.2" "Command lines end with <CRLF>";
    BAD_CHARACTERS = 500 "5.5.2" "The command has characters that are not printable text";
    BAD_ARGUMENTS = 501 "5.5.4" "The arguments do not follow the syntax of the command";
    BAD_HELO = 501 "5.5.4" "Say EHLO with your host name or [address]";
    NOT_OFFERED = 502 "5.5.1" "The command is not offered here";
    NO_HELO = 503 "5.5.1" "Say EHLO first";
    NO_MAIL = 503 "5.5.1" "Say MAIL first";
    NO_RECIPIENTS = 503 "5.5.1" "No valid recipients: say RCPT first";
    NESTED_MAIL = 503 "5.5.1" "A transaction is open already: end it or say RSET";
    DATA_AFTER_BDAT = 503 "5.5.1" "The message is being sent with BDAT: go on so, or say RSET";
    TLS_ALREADY = 503 "5.5.1" "TLS is on already";
    BAD_REVERSE_PATH = 501 "5.1.7" "The sender is not <address> or <>";
    BAD_FORWARD_PATH = 501 "5.1.3" "The recipient is not <address>";
    BODY_UNSUPPORTED = 501 "5.5.4" "BODY is 7BIT or 8BITMIME";
    UNKNOWN_USER = 550 "5.1.1" "There is no such mailbox here";
    RELAY_DENIED = 550 "5.7.1" "Mail for that domain is not taken here; relaying denied";
    SENDER_NEEDS_UTF8 = 550 "5.6.7" "The sender is not ASCII: say SMTPUTF8 with MAIL";
    RECIPIENT_NEEDS_UTF8 = 553 "5.6.7" "The recipient is not ASCII: say SMTPUTF8 with MAIL";
    MESSAGE_TOO_BIG = 552 "5.3.4" "The message is larger than the limit given with SIZE";
    ENVELOPE_TOO_LARGE = 554 "5.5.3" "Too many recipients for one message; send it to fewer at a time";
    SPOKE_EARLY = 554 "5.5.0" "You spoke before it was your turn; wait for the reply";
    ROUTING_LOOP = 554 "5.4.6" "The message has passed too many servers: a routing loop";
    BARE_CR_OR_LF = 554 "5.6.0" "The message has a bare CR or LF; lines end with <CRLF>";
    UNKNOWN_PARAMETER = 555 "5.5.4" "A parameter is not known or not offered here";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_with_its_codes() {
        let mut out = Vec::new();
        OVER_QUOTA.write(&mut out);
        GO_AHEAD.write(&mut out);
        assert_eq!(
            out,
            b"452 4.2.2 The mailbox is full; try again later\r\n354 End data with <CRLF>.<CRLF>\r\n".as_slice()
        );
    }
}

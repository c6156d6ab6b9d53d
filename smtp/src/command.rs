//! Commands: one line, without its CRLF, to a [`Command`] (RFC 5321 section 4.1.1) or to the reply that refuses it.

use crate::address::{self, Address};
use crate::parameters::MailParameters;
use crate::reply::{self, Reply};

/// Octets of a command line, its CRLF included (RFC 5321 section 4.5.3.1.4).
pub const MAX_LINE_BYTES: usize = 512;
/// Octets of a MAIL or RCPT line: extensions widen it (RFC 1870, RFC 6152, RFC 6531), and clients pad.
pub const MAX_PATH_LINE_BYTES: usize = 2048;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    Mail {
        reverse_path: Option<Address>,
        parameters: MailParameters,
    },
    Rcpt(ForwardPath),
    Data,
    Bdat {
        size_bytes: u64,
        is_last: bool,
    },
    StartTls,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    /// AUTH, ETRN and other commands that exist and are not for reception.
    NotOffered,
    /// The first line of another protocol: a browser was led here.
    NotSmtp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain (RFC 5321 section 4.5.1).
    Postmaster,
    Address(Address),
}

/// Parses a command line.
///
/// # Errors
/// The reply to send instead.
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    let (verb, argument) = split(line)?;
    if line.len() + 2 > MAX_LINE_BYTES && !matches!(verb_of(verb), Verb::Mail | Verb::Rcpt) {
        return Err(reply::LINE_TOO_LONG);
    }
    match verb_of(verb) {
        Verb::Mail => mail(argument),
        Verb::Rcpt => rcpt(argument),
        Verb::Data => bare(argument, Command::Data),
        Verb::Bdat => bdat(argument),
        Verb::Ehlo => helo(argument).map(Command::Ehlo),
        Verb::Helo => helo(argument).map(Command::Helo),
        Verb::Rset => bare(argument, Command::Rset),
        Verb::Quit => bare(argument, Command::Quit),
        Verb::StartTls => bare(argument, Command::StartTls),
        Verb::Noop => Ok(Command::Noop),
        Verb::Help => Ok(Command::Help),
        Verb::Vrfy => with_argument(argument, Command::Vrfy),
        Verb::Expn => with_argument(argument, Command::Expn),
        Verb::NotOffered => Ok(Command::NotOffered),
        Verb::NotSmtp => Ok(Command::NotSmtp),
        Verb::Unknown => Err(reply::UNKNOWN_COMMAND),
    }
}

enum Verb {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    StartTls,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    NotOffered,
    NotSmtp,
    Unknown,
}

/// Splits a line of printable text into verb and argument, without spaces at the ends.
fn split(line: &[u8]) -> Result<(&str, &str), Reply> {
    let text = std::str::from_utf8(line).map_err(|_| reply::BAD_CHARACTERS)?;
    if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(reply::BAD_CHARACTERS);
    }
    let text = text.trim_end_matches([' ', '\t']);
    let (verb, argument) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    Ok((verb, argument.trim_start_matches([' ', '\t'])))
}

fn verb_of(verb: &str) -> Verb {
    let mut upper = [0; 8];
    let Some(letters) = upper.get_mut(..verb.len()) else {
        return if verb.ends_with(':') { Verb::NotSmtp } else { Verb::Unknown };
    };
    letters.copy_from_slice(verb.as_bytes());
    letters.make_ascii_uppercase();
    match &*letters {
        b"MAIL" => Verb::Mail,
        b"RCPT" => Verb::Rcpt,
        b"DATA" => Verb::Data,
        b"BDAT" => Verb::Bdat,
        b"EHLO" => Verb::Ehlo,
        b"HELO" => Verb::Helo,
        b"RSET" => Verb::Rset,
        b"QUIT" => Verb::Quit,
        b"NOOP" => Verb::Noop,
        b"STARTTLS" => Verb::StartTls,
        b"VRFY" => Verb::Vrfy,
        b"EXPN" => Verb::Expn,
        b"HELP" => Verb::Help,
        b"AUTH" | b"ETRN" | b"ATRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => Verb::NotOffered,
        b"GET" | b"POST" | b"PUT" | b"CONNECT" | b"OPTIONS" | b"HOST:" | b"USER" => Verb::NotSmtp,
        _ => Verb::Unknown,
    }
}

fn bare(argument: &str, command: Command) -> Result<Command, Reply> {
    if argument.is_empty() { Ok(command) } else { Err(reply::BAD_ARGUMENTS) }
}

fn with_argument(argument: &str, command: Command) -> Result<Command, Reply> {
    if argument.is_empty() { Err(reply::BAD_ARGUMENTS) } else { Ok(command) }
}

/// The client's name: a domain or address literal, and since many clients know neither, any word of the letters
/// that these are made of. It goes into the trace header, so nothing else may be in it.
fn helo(argument: &str) -> Result<String, Reply> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let is_name = argument.bytes().all(is_word) || address::is_address_literal(argument);
    if argument.is_empty() || argument.len() > address::MAX_DOMAIN_BYTES || !is_name {
        return Err(reply::BAD_HELO);
    }
    Ok(argument.to_owned())
}

fn mail(argument: &str) -> Result<Command, Reply> {
    let path = strip_keyword(argument, "FROM:").ok_or(reply::BAD_ARGUMENTS)?;
    let (path, rest) = split_path(path).ok_or(reply::BAD_REVERSE_PATH)?;
    let reverse_path = match path {
        "" => None,
        path => Some(Address::parse(strip_route(path)).map_err(|error| path_reply("5.1.7", error))?),
    };
    let parameters = MailParameters::parse(rest)?;
    let is_ascii = reverse_path.as_ref().is_none_or(Address::is_ascii);
    if !is_ascii && !parameters.is_smtputf8 {
        return Err(reply::SENDER_NEEDS_UTF8);
    }
    Ok(Command::Mail { reverse_path, parameters })
}

fn rcpt(argument: &str) -> Result<Command, Reply> {
    let path = strip_keyword(argument, "TO:").ok_or(reply::BAD_ARGUMENTS)?;
    let (path, rest) = split_path(path).ok_or(reply::BAD_FORWARD_PATH)?;
    if !rest.trim().is_empty() {
        return Err(reply::UNKNOWN_PARAMETER);
    }
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(Command::Rcpt(ForwardPath::Postmaster));
    }
    let address = Address::parse(strip_route(path)).map_err(|error| path_reply("5.1.3", error))?;
    Ok(Command::Rcpt(ForwardPath::Address(address)))
}

fn path_reply(enhanced_status: &'static str, error: address::AddressError) -> Reply {
    Reply::with(501, enhanced_status, error.to_string())
}

/// `BDAT size [LAST]` (RFC 3030 section 2).
fn bdat(argument: &str) -> Result<Command, Reply> {
    let (size, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    let is_last = match rest.trim() {
        "" => false,
        last if last.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(reply::BAD_ARGUMENTS),
    };
    let is_number = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    let size_bytes = size.parse().ok().filter(|_| is_number).ok_or(reply::BAD_ARGUMENTS)?;
    Ok(Command::Bdat { size_bytes, is_last })
}

/// What follows `FROM:` or `TO:`; clients in the wild put a space behind the colon.
fn strip_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let head = argument.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| argument[keyword.len()..].trim_start_matches(' '))
}

/// Splits `<path> parameters` at the `>` that is not within a quoted string.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => {
                let rest = &inner[index + 1..];
                return (rest.is_empty() || rest.starts_with(' ')).then_some((&inner[..index], rest));
            }
            _ => {}
        }
    }
    None
}

/// Drops a source route, `@one,@two:`, which must be taken and should be ignored (RFC 5321 appendix C).
fn strip_route(path: &str) -> &str {
    let Some((route, address)) = path.split_once(':').filter(|_| path.starts_with('@')) else { return path };
    let is_route = route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(address::is_domain));
    if is_route { address } else { path }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;

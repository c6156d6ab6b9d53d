//! One conversation with a client.
//!
//! Commands that came together are answered together: replies are held until there is nothing left to process.

mod bdat;
mod commit;
mod data;
mod envelope;
mod hello;

use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::command::{self, Command};
use crate::reception::Reception;
use crate::reply::{self, Reply};
use crate::wire::{Line, Wire};

use envelope::Transaction;
use hello::Helo;

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client said QUIT and was answered.
    Quit,
    /// The client went, or its connection is broken.
    Gone,
    /// The client was told why and may be sending still.
    Refused,
    TimedOut,
    SessionOver,
    ShuttingDown,
}

/// What a command's handler gives: the reply, or the end.
type Step = Result<Reply, End>;

pub(crate) struct Session {
    reception: Arc<Reception>,
    wire: Wire,
    remote_ip: IpAddr,
    helo: Option<Helo>,
    is_tls: bool,
    transaction: Option<Transaction>,
    tally: Tally,
    shutdown: CancellationToken,
}

/// What a client has used up.
#[derive(Debug, Default)]
struct Tally {
    commands_since_message: usize,
    bad_commands: usize,
    refused_recipients: usize,
}

impl Session {
    /// Talks with the client until one of us ends it. After `shutdown` the transaction that is open may end.
    pub(crate) async fn run(
        stream: TcpStream,
        remote_ip: IpAddr,
        reception: Arc<Reception>,
        shutdown: CancellationToken,
    ) {
        let options = &reception.options;
        let is_early = is_early_talker(&stream, options.greeting_delay).await;
        let wire = Wire::new(stream, options.timeouts.write, Instant::now() + options.timeouts.session);
        let mut session = Self {
            wire,
            remote_ip,
            helo: None,
            is_tls: false,
            transaction: None,
            tally: Tally::default(),
            shutdown,
            reception,
        };
        let Err(end) = if is_early { session.refuse(reply::SPOKE_EARLY) } else { session.converse().await };
        session.close(end).await;
    }

    async fn converse(&mut self) -> Result<Infallible, End> {
        let greeting = format!("220 {} ESMTP Millrace\r\n", self.reception.options.server_name);
        self.wire.hold_text(&greeting);
        loop {
            let parsed = self.next_command().await?;
            self.count_command()?;
            let reply = match parsed {
                Ok(command) => self.obey(command).await?,
                Err(reply) => reply,
            };
            self.answer(&reply)?;
            if self.wire.holds_much() {
                self.wire.flush().await?;
            }
        }
    }

    /// The next command line, parsed; waits for it when it is not there.
    async fn next_command(&mut self) -> Result<Result<Command, Reply>, End> {
        let mut deadline = None;
        loop {
            match self.wire.take_line() {
                Line::Text(text) => return Ok(command::parse(text)),
                Line::BareLf => return Ok(Err(reply::BARE_LINE_END)),
                Line::TooLong => return Ok(Err(reply::LINE_TOO_LONG)),
                Line::Endless => return self.refuse(reply::LINE_TOO_LONG).map(|never| match never {}),
                Line::Incomplete => {}
            }
            let wait = self.reception.options.timeouts.command;
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            self.wire.flush().await?;
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if self.transaction.is_none() => return Err(End::ShuttingDown),
                filled = self.wire.fill(deadline) => filled?,
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Step {
        match command {
            Command::Mail { reverse_path, parameters } => self.mail(reverse_path, parameters),
            Command::Rcpt(path) => self.rcpt(path).await,
            Command::Data => self.data().await,
            Command::Bdat { size_bytes, is_last } => self.bdat(size_bytes, is_last).await,
            Command::Ehlo(name) => self.ehlo(name),
            Command::Helo(name) => self.helo(name),
            Command::StartTls => self.start_tls().await,
            Command::Rset => {
                self.transaction = None;
                Ok(reply::OK)
            }
            Command::Noop => Ok(reply::OK),
            Command::Vrfy => Ok(reply::CANNOT_VERIFY),
            Command::Help => Ok(Reply::new(214, "2.0.0", "EHLO HELO STARTTLS MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT")),
            Command::Expn | Command::NotOffered => Ok(reply::NOT_OFFERED),
            Command::NotSmtp => self.refuse(reply::NOT_SMTP).map(|never| match never {}),
            Command::Quit => {
                self.wire.hold(&reply::BYE);
                Err(End::Quit)
            }
        }
    }

    fn count_command(&mut self) -> Result<(), End> {
        self.tally.commands_since_message += 1;
        if self.tally.commands_since_message > self.reception.options.limits.max_commands_per_message {
            self.refuse(reply::TOO_MANY_COMMANDS)?;
        }
        Ok(())
    }

    /// Holds a reply; a client with too many errors is told to go instead of being told of one more.
    fn answer(&mut self, reply: &Reply) -> Result<(), End> {
        let limits = &self.reception.options.limits;
        match reply.code {
            500..=504 | 555 => self.tally.bad_commands += 1,
            550 | 553 => self.tally.refused_recipients += 1,
            _ => {}
        }
        let is_too_much = self.tally.bad_commands > limits.max_bad_commands
            || self.tally.refused_recipients > limits.max_refused_recipients;
        if is_too_much {
            self.refuse(reply::TOO_MANY_ERRORS)?;
        }
        self.hold(reply);
        Ok(())
    }

    /// Holds a last reply and ends the conversation.
    fn refuse(&mut self, reply: Reply) -> Result<Infallible, End> {
        self.hold(&reply);
        Err(End::Refused)
    }

    fn hold(&mut self, reply: &Reply) {
        if reply.is_rejection() {
            metrics::counter!("millrace_smtp_rejections_total", "code" => reply.code.to_string()).increment(1);
        }
        self.wire.hold(reply);
    }

    async fn close(mut self, end: End) {
        match end {
            End::TimedOut => self.hold(&reply::TIMED_OUT),
            End::SessionOver => self.hold(&reply::SESSION_TOO_LONG),
            End::ShuttingDown => self.hold(&reply::SHUTTING_DOWN),
            End::Quit | End::Gone | End::Refused => {}
        }
        tracing::debug!(remote_ip = %self.remote_ip, ?end, "connection closed");
        if end != End::Gone {
            self.wire.close(end == End::Refused).await;
        }
    }
}

/// Whether the client sent something before it was greeted, as spam software does.
async fn is_early_talker(stream: &TcpStream, delay: std::time::Duration) -> bool {
    if delay.is_zero() {
        let peeked = socket2::SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
        return peeked.is_ok_and(|bytes| bytes > 0);
    }
    matches!(timeout(delay, stream.peek(&mut [0])).await, Ok(Ok(1..)))
}

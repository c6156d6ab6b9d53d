//! The end of DATA and dot-stuffing (RFC 5321 sections 4.1.1.4 and 4.5.2), over the raw stream in bulk.
//!
//! Only `<CRLF>.<CRLF>` ends the data. Forms that other servers take for an end (`<LF>.<LF>`, `<LF>.<CRLF>`,
//! `<CR>.<CR>`, ...) do not, and a message with any bare CR or LF is reported, so that it can be refused:
//! nothing can be smuggled behind it.

use memchr::{memchr, memchr_iter};

/// What follows from the bytes before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    /// Within a line; the byte before was not CR.
    Line,
    /// Within a line, behind a CR.
    LineCr,
    /// Behind a dot at the start of a line, which is held back.
    Dot,
    /// Behind a dot at the start of a line and a CR, which are held back.
    DotCr,
}

/// Takes the stream after 354 in pieces of any size.
#[derive(Debug)]
pub struct DataScanner {
    state: State,
    line_ends: LineEnds,
}

/// How far a piece went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the piece that belong to the data, the end included.
    pub consumed: usize,
    pub is_end: bool,
}

impl DataScanner {
    pub fn new() -> Self {
        Self { state: State::LineStart, line_ends: LineEnds::default() }
    }

    /// Scans a piece and hands the content in it to `emit`, without the dots that were stuffed and without the end.
    pub fn feed(&mut self, piece: &[u8], mut emit: impl FnMut(&[u8])) -> Progress {
        let (mut at, mut from) = (0, 0);
        while at < piece.len() {
            match self.state {
                State::LineStart if piece[at] == b'.' => {
                    emit(&piece[from..at]);
                    at += 1;
                    from = at;
                    self.state = State::Dot;
                }
                State::LineStart => self.state = State::Line,
                State::Dot if piece[at] == b'\r' => {
                    at += 1;
                    from = at;
                    self.state = State::DotCr;
                }
                State::Dot => self.state = State::Line,
                State::DotCr if piece[at] == b'\n' => return self.end(&piece[..=at]),
                State::DotCr => {
                    emit(b"\r");
                    self.state = State::LineCr;
                }
                State::Line | State::LineCr => at = self.line(piece, at),
            }
        }
        self.line_ends.count_cr(piece);
        emit(&piece[from..]);
        Progress { consumed: piece.len(), is_end: false }
    }

    /// Goes to behind the next LF, or to the end of the piece. Returns where that is.
    fn line(&mut self, piece: &[u8], at: usize) -> usize {
        let is_behind_cr = self.state == State::LineCr;
        let Some(distance) = memchr(b'\n', &piece[at..]) else {
            self.state = if piece.ends_with(b"\r") { State::LineCr } else { State::Line };
            return piece.len();
        };
        let lf = at + distance;
        let is_crlf = if distance == 0 { is_behind_cr } else { piece[lf - 1] == b'\r' };
        self.line_ends.count_lf(is_crlf);
        self.state = if is_crlf { State::LineStart } else { State::Line };
        lf + 1
    }

    fn end(&mut self, consumed: &[u8]) -> Progress {
        self.line_ends.count_cr(consumed);
        self.line_ends.count_lf(true);
        Progress { consumed: consumed.len(), is_end: true }
    }

    /// Whether a CR or LF came alone so far. Certain once the end was found.
    pub fn has_bare_cr_or_lf(&self) -> bool {
        self.line_ends.has_bare()
    }
}

impl Default for DataScanner {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts line ends: every CR and every LF must be half of a CRLF.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineEnds {
    crs: u64,
    crlfs: u64,
    has_bare_lf: bool,
    is_behind_cr: bool,
}

impl LineEnds {
    fn count_cr(&mut self, bytes: &[u8]) {
        self.crs += memchr_iter(b'\r', bytes).count() as u64;
    }

    fn count_lf(&mut self, is_crlf: bool) {
        self.crlfs += u64::from(is_crlf);
        self.has_bare_lf |= !is_crlf;
    }

    /// Counts a piece of content that has no end of its own (BDAT).
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        for lf in memchr_iter(b'\n', piece) {
            let is_crlf = if lf == 0 { self.is_behind_cr } else { piece[lf - 1] == b'\r' };
            self.count_lf(is_crlf);
        }
        self.count_cr(piece);
        if let Some(last) = piece.last() {
            self.is_behind_cr = *last == b'\r';
        }
    }

    pub(crate) fn has_bare(&self) -> bool {
        self.has_bare_lf || self.crs != self.crlfs
    }
}

#[cfg(test)]
#[path = "data_scanner_tests.rs"]
mod tests;

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// What a scan gives: content, whether a bare CR or LF was seen, and how many bytes were taken.
type Scan = Option<(Vec<u8>, bool, usize)>;

fn scan(stream: &[u8], sizes: &[usize]) -> Scan {
    let (mut scanner, mut content, mut at) = (DataScanner::new(), Vec::new(), 0);
    let mut sizes = sizes.iter().copied().cycle();
    while at < stream.len() {
        let end = (at + sizes.next().unwrap().max(1)).min(stream.len());
        let progress = scanner.feed(&stream[at..end], |segment| content.extend_from_slice(segment));
        at += progress.consumed;
        if progress.is_end {
            return Some((content, scanner.has_bare_cr_or_lf(), at));
        }
        assert_eq!(at, end);
    }
    None
}

/// The same, as the RFC words it: the first CRLF.CRLF ends, a dot that begins a line goes.
fn reference(stream: &[u8]) -> Scan {
    let framed = [b"\r\n", stream].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n")?;
    let mut content = Vec::new();
    for (index, byte) in framed[..end + 2].iter().enumerate() {
        let is_stuffed = *byte == b'.' && index >= 2 && &framed[index - 2..index] == b"\r\n";
        if !is_stuffed {
            content.push(*byte);
        }
    }
    let without_pairs = String::from_utf8_lossy(&framed[..end + 5]).replace("\r\n", "");
    Some((content[2..].to_vec(), without_pairs.contains(['\r', '\n']), end + 3))
}

fn stuff(content: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (index, byte) in content.iter().enumerate() {
        if *byte == b'.' && (index == 0 || content[..index].ends_with(b"\r\n")) {
            stream.push(b'.');
        }
        stream.push(*byte);
    }
    stream.extend_from_slice(b".\r\n");
    stream
}

#[test]
fn the_end_is_found_and_stuffed_dots_go() {
    assert_eq!(scan(b".\r\n", &[9]), Some((b"".to_vec(), false, 3)));
    assert_eq!(scan(b"a\r\n.\r\nQUIT\r\n", &[99]), Some((b"a\r\n".to_vec(), false, 6)));
    assert_eq!(scan(b"..\r\n...b\r\n.\r\n", &[1]), Some((b".\r\n..b\r\n".to_vec(), false, 13)));
    assert_eq!(scan(b"a\r\n.\r", &[2]), None);
}

#[test]
fn forms_that_smuggle_are_no_end_and_are_reported() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n\0.\r\n", "\r\n.\r\r\n"] {
        let stream = format!("a{end}MAIL FROM:<evil@x>\r\n.\r\n");
        for size in [1, 2, 3, 99] {
            let (_, has_bare, consumed) = scan(stream.as_bytes(), &[size]).unwrap();
            assert_eq!(consumed, stream.len(), "{end:?} ended the data");
            assert_eq!(has_bare, !end.contains('\0'), "{end:?}");
        }
    }
}

#[test]
fn a_cr_before_the_end_is_bare() {
    assert!(scan(b"a\r\r\n.\r\n", &[1]).unwrap().1);
    assert_eq!(scan(b"a\r\n.\r\r\n.\r\n", &[3]).unwrap(), (b"a\r\n\r\r\n".to_vec(), true, 10));
}

fn tricky_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), Just(0), any::<u8>()];
    prop::collection::vec(byte, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_stream_in_any_pieces_scans_as_the_rfc_words_it(
        mut stream in tricky_bytes(), is_ended: bool, sizes in prop::collection::vec(1..9usize, 1..5)
    ) {
        if is_ended {
            stream.extend_from_slice(b"\r\n.\r\n");
        }
        prop_assert_eq!(scan(&stream, &sizes), reference(&stream));
    }

    #[test]
    fn lines_come_out_as_they_went_in(
        lines in prop::collection::vec("\\.{0,3}[a-z]{0,5}", 0..8), sizes in prop::collection::vec(1..9usize, 1..5)
    ) {
        let content: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
        let stream = stuff(&content);
        prop_assert_eq!(scan(&stream, &sizes), Some((content, false, stream.len())));
    }

    #[test]
    fn line_ends_count_the_same_in_any_pieces(stream in tricky_bytes(), size in 1..7usize) {
        let mut line_ends = LineEnds::default();
        stream.chunks(size).for_each(|piece| line_ends.feed(piece));
        let without_pairs: Vec<u8> = String::from_utf8_lossy(&stream).replace("\r\n", "").into_bytes();
        prop_assert_eq!(line_ends.has_bare(), without_pairs.iter().any(|byte| b"\r\n".contains(byte)));
    }
}

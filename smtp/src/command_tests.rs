#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn reverse_path(line: &str) -> Option<String> {
    match parse(line.as_bytes()) {
        Ok(Command::Mail { reverse_path, .. }) => reverse_path.map(|address| address.to_string()),
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> (u16, &'static str) {
    let reply = parse(line.as_bytes()).expect_err(line);
    (reply.code, reply.enhanced_status)
}

#[test]
fn mail_takes_a_path_and_its_parameters_in_any_case() {
    assert_eq!(reverse_path("MAIL FROM:<>"), None);
    assert_eq!(reverse_path("mail from: <a@b>  SIZE=10 body=8BITMIME"), Some("a@b".into()));
    assert_eq!(reverse_path("MAIL FROM:<\"a>b\"@c> SMTPUTF8"), Some("\"a>b\"@c".into()));
    assert_eq!(reverse_path("MAIL FROM:<@one,@two.example:a@b>"), Some("a@b".into()));
    let parsed = parse("MAIL FROM:<보낸이@예시.테스트> SMTPUTF8 SIZE=99999999999999999999".as_bytes()).unwrap();
    let Command::Mail { parameters, .. } = parsed else { panic!("not MAIL") };
    assert_eq!(parameters, MailParameters { size_bytes: Some(u64::MAX), is_8bit: false, is_smtputf8: true });
}

#[test]
fn mail_that_does_not_follow_the_syntax_gets_its_code() {
    assert_eq!(refused("MAIL"), (501, "5.5.4"));
    assert_eq!(refused("MAIL TO:<a@b>"), (501, "5.5.4"));
    assert_eq!(refused("MAIL FROM:a@b"), (501, "5.1.7"));
    assert_eq!(refused("MAIL FROM:<a@b"), (501, "5.1.7"));
    assert_eq!(refused("MAIL FROM:<a@b>SIZE=1"), (501, "5.1.7"));
    assert_eq!(refused("MAIL FROM:<a>"), (501, "5.1.7"));
    assert_eq!(refused("MAIL FROM:<@:a@b>"), (501, "5.1.7"));
    assert_eq!(refused("MAIL FROM:<a@b> SIZE=x"), (501, "5.5.4"));
    assert_eq!(refused("MAIL FROM:<a@b> SIZE=1 SIZE=2"), (501, "5.5.4"));
    assert_eq!(refused("MAIL FROM:<a@b> BODY=BINARYMIME"), (501, "5.5.4"));
    assert_eq!(refused("MAIL FROM:<a@b> SMTPUTF8=yes"), (501, "5.5.4"));
    assert_eq!(refused("MAIL FROM:<a@b> RET=HDRS"), (555, "5.5.4"));
    assert_eq!(refused("MAIL FROM:<보낸이@b>"), (550, "5.6.7"));
}

#[test]
fn rcpt_takes_one_address_or_the_postmaster() {
    assert_eq!(parse(b"RCPT TO:<Postmaster>"), Ok(Command::Rcpt(ForwardPath::Postmaster)));
    let address = Address::parse("a@[192.0.2.1]").unwrap();
    assert_eq!(parse(b"rcpt to:<a@[192.0.2.1]>"), Ok(Command::Rcpt(ForwardPath::Address(address))));
    assert_eq!(refused("RCPT TO:<>"), (501, "5.1.3"));
    assert_eq!(refused("RCPT TO:<a@b> NOTIFY=NEVER"), (555, "5.5.4"));
    assert_eq!(refused("RCPT TO:<a@b>,<c@d>"), (501, "5.1.3"));
    assert_eq!(refused("RCPT FROM:<a@b>"), (501, "5.5.4"));
}

#[test]
fn commands_without_arguments_take_none() {
    assert_eq!(parse(b"data"), Ok(Command::Data));
    assert_eq!(parse(b"QUIT  "), Ok(Command::Quit));
    assert_eq!(parse(b"NOOP whatever"), Ok(Command::Noop));
    for line in ["DATA now", "QUIT x", "RSET x", "STARTTLS x", "VRFY", "EXPN"] {
        assert_eq!(refused(line), (501, "5.5.4"), "{line}");
    }
}

#[test]
fn bdat_takes_a_size_and_last() {
    assert_eq!(parse(b"BDAT 10"), Ok(Command::Bdat { size_bytes: 10, is_last: false }));
    assert_eq!(parse(b"BDAT 0 last"), Ok(Command::Bdat { size_bytes: 0, is_last: true }));
    for line in ["BDAT", "BDAT x", "BDAT +5", "BDAT -1", "BDAT 1 FIRST", "BDAT 99999999999999999999"] {
        assert_eq!(refused(line), (501, "5.5.4"), "{line}");
    }
}

#[test]
fn ehlo_takes_names_and_literals_and_nothing_that_could_forge_a_header() {
    for name in ["mx.example", "[192.0.2.1]", "[IPv6:::1]", "MY_PC", "localhost"] {
        assert_eq!(parse(format!("EHLO {name}").as_bytes()), Ok(Command::Ehlo(name.into())));
    }
    for line in ["EHLO", "HELO a b", "EHLO (x)", "EHLO <x>", "EHLO [1.2.3]", "EHLO a;b", "EHLO 이름"] {
        assert_eq!(refused(line), (501, "5.5.4"), "{line}");
    }
}

#[test]
fn long_lines_control_characters_and_other_protocols_are_refused() {
    assert_eq!(refused(&format!("NOOP {}", "x".repeat(506))), (500, "5.5.2"));
    assert_eq!(parse(format!("NOOP {}", "x".repeat(505)).as_bytes()), Ok(Command::Noop));
    assert_eq!(refused("NOOP \0"), (500, "5.5.2"));
    assert_eq!(refused("NOOP \r"), (500, "5.5.2"));
    assert_eq!(refused(""), (500, "5.5.2"));
    assert_eq!(refused("MAILFROM:<a@b>"), (500, "5.5.2"));
    assert!(parse(b"NOOP \xff").is_err());
    assert_eq!(parse(b"GET / HTTP/1.1"), Ok(Command::NotSmtp));
    assert_eq!(parse(b"User-Agent: curl"), Ok(Command::NotSmtp));
    assert_eq!(parse(b"AUTH PLAIN AAAA"), Ok(Command::NotOffered));
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&line);
    }

    #[test]
    fn no_line_of_smtp_words_makes_the_parser_panic(
        line in "(MAIL FROM:|RCPT TO:|BDAT |EHLO )[<>@\"\\\\,:. a-zA-Z0-9=é\\[\\]]{0,60}"
    ) {
        let _ = parse(line.as_bytes());
    }
}

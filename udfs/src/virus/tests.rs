use super::*;

fn eicar() -> String {
    ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat()
}

fn verdict(raw: &[u8]) -> VirusVerdict {
    serde_json::from_str(&VirusScanner::new(None).unwrap().scan(raw)).unwrap()
}

fn attached(name: &str, content: &[u8]) -> Vec<u8> {
    let encoded = base64(content);
    format!(
        "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n\
         --b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{encoded}\r\n--b--\r\n"
    )
    .into_bytes()
}

fn base64(content: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let encode = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)];
        (0..4).map(|at| if at <= chunk.len() { digits[at] } else { '=' }).collect::<String>()
    };
    let lines: Vec<String> = content.chunks(57).map(|line| line.chunks(3).map(encode).collect()).collect();
    lines.join("\r\n")
}

/// A ZIP archive of one entry.
fn zip(name: &str, content: &[u8], is_deflated: bool) -> Vec<u8> {
    let packed = if is_deflated { miniz_oxide::deflate::compress_to_vec(content, 6) } else { content.to_vec() };
    let method: u16 = if is_deflated { 8 } else { 0 };
    let mut fields = vec![20, 0, 0, 0];
    fields.extend_from_slice(&method.to_le_bytes());
    fields[2..4].copy_from_slice(&[0, 0]);
    fields.extend_from_slice(&[0; 8]);
    fields.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    fields.extend_from_slice(&(content.len() as u32).to_le_bytes());
    fields.extend_from_slice(&(name.len() as u16).to_le_bytes());
    fields.extend_from_slice(&[0, 0]);
    let mut archive = [b"PK\x03\x04".as_slice(), &fields, name.as_bytes(), &packed].concat();
    let directory_at = archive.len() as u32;
    archive.extend_from_slice(&[b"PK\x01\x02\x14\0".as_slice(), &fields, &[0; 14], name.as_bytes()].concat());
    let directory_bytes = archive.len() as u32 - directory_at;
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    archive.extend_from_slice(&directory_bytes.to_le_bytes());
    archive.extend_from_slice(&directory_at.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

#[test]
fn eicar_is_found_wherever_it_is() {
    let plain = format!("Subject: x\r\n\r\n{}\r\n", eicar()).into_bytes();
    let in_zip = attached("a.zip", &zip("eicar.com", eicar().as_bytes(), true));
    let stored = attached("a.zip", &zip("eicar.com", eicar().as_bytes(), false));
    for raw in [plain, attached("eicar.com", eicar().as_bytes()), in_zip, stored] {
        let verdict = verdict(&raw);
        assert_eq!(verdict.name.as_deref(), Some("EICAR_Test_File"), "{}", String::from_utf8_lossy(&raw));
        assert_eq!(verdict.engine, "yara/boreal");
    }
}

#[test]
fn ordinary_mail_is_clean() {
    let verdict = verdict(&attached("notes.txt", b"nothing to see"));
    assert_eq!((verdict.name, verdict.matches.len(), verdict.is_partial), (None, 0, false));
}

#[test]
fn a_program_hidden_in_an_archive_is_found_by_name() {
    let raw = attached("a.zip", &zip("invoice.pdf   .exe", b"MZ", false));
    assert_eq!(verdict(&raw).name.as_deref(), Some("Archive_Hides_Program_Behind_Document_Name"));
    let raw = attached("a.zip", &zip("invoice.pdf", b"%PDF", false));
    assert_eq!(verdict(&raw).name, None);
}

#[test]
fn a_program_named_as_document_is_found() {
    let mut program = vec![0; 256];
    program[..2].copy_from_slice(b"MZ");
    program[0x3c] = 0x80;
    program[0x80..0x84].copy_from_slice(b"PE\0\0");
    assert_eq!(verdict(&attached("offer.pdf.exe", &program)).name.as_deref(), Some("Program_With_Document_Name"));
    assert_eq!(verdict(&attached("setup.exe", &program)).name, None);
}

#[test]
fn a_bomb_is_left_alone_and_said_to_be() {
    let raw = attached("bomb.zip", &zip("zeros", &vec![0; 40 << 20], true));
    let verdict = verdict(&raw);
    assert_eq!((verdict.name, verdict.is_partial), (None, true));
}

#[test]
fn rules_of_a_folder_are_used_and_versioned() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |text: &str| std::fs::write(folder.path().join("own.yar"), text).unwrap();
    rule("rule Own { strings: $a = \"needle-7\" condition: $a }");
    let scanner = VirusScanner::new(Some(folder.path())).unwrap();
    assert!(scanner.scan(b"Subject: x\r\n\r\nneedle-7\r\n").contains("\"name\":\"Own\""));
    assert_ne!(scanner.version(), VirusScanner::new(None).unwrap().version());
}

#[test]
fn a_wrong_rule_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yar"), "rule A { condition: true }\nrule B { condition: $none }\n").unwrap();
    let error = VirusScanner::new(Some(folder.path())).err().unwrap().to_string();
    assert!(error.contains("bad.yar:2:"), "{error}");
    let missing = VirusScanner::new(Some(&folder.path().join("none"))).err().unwrap().to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[test]
fn eicar_is_found_in_encodings_that_are_not_quite_right() {
    let whole = attached("a.bin", eicar().as_bytes());
    let text = String::from_utf8(whole).unwrap();
    let unclosed = text.replace("--b--\r\n", "");
    let junk = text.replace("WDVP", "W!D**VP");
    let comment = text.replace("base64", "base64 (as it were)");
    let quoted = text
        .replace("base64", "quoted-printable")
        .replace(&base64(eicar().as_bytes()), &format!("=zz\r\n{}", eicar().replace('P', "=50")));
    assert_ne!(junk, text);
    for (what, raw) in
        [("unclosed", unclosed), ("junk", junk), ("comment", comment), ("quoted", quoted.replace("--b--\r\n", ""))]
    {
        assert!(verdict(raw.as_bytes()).name.is_some(), "{what}: {raw}");
    }
}

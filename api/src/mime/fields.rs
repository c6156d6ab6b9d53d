//! Header fields of a message or part, as they stand.

/// A field: its name as written, and its value from behind the colon up to the line end that terminates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    pub value: &'a [u8],
}

impl Field<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The raw form (RFC 8621 section 4.1.2.1): what is not UTF-8 replaced, NUL dropped.
    pub fn raw(&self) -> String {
        let text = String::from_utf8_lossy(self.value);
        if text.contains('\0') { text.replace('\0', "") } else { text.into_owned() }
    }
}

/// More fields than this in one header are not read.
const MAX_FIELDS: usize = 2_000;

/// Splits an entity into its fields and its body. Lines that are no fields are skipped; an entity that does not begin
/// with a field has an empty header when its first line is blank, and is all body when it has no header at all.
pub fn split(entity: &[u8]) -> (Vec<Field<'_>>, &[u8]) {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < entity.len() {
        let end = field_end(entity, at);
        let line = trim_line_end(&entity[at..end]);
        if line.is_empty() {
            return (fields, &entity[end..]);
        }
        match field(line) {
            Some(field) if fields.len() < MAX_FIELDS => fields.push(field),
            Some(_) => {}
            None if fields.is_empty() && at == 0 && !is_mbox_line(line) => return (fields, entity),
            None => {}
        }
        at = end;
    }
    (fields, &entity[entity.len()..])
}

/// `From sender date` at the top, as mail folders write it.
fn is_mbox_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// The end of the field that begins at `start`: behind its last line; lines that begin with a blank continue it.
fn field_end(entity: &[u8], start: usize) -> usize {
    let mut end = line_end(entity, start);
    let is_blank = trim_line_end(&entity[start..end]).is_empty();
    while !is_blank && matches!(entity.get(end), Some(b' ' | b'\t')) {
        let next = line_end(entity, end);
        end = next;
    }
    end
}

/// Behind the line feed of the line at `start`.
pub(super) fn line_end(bytes: &[u8], start: usize) -> usize {
    bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |offset| start + offset + 1)
}

pub(super) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn field(line: &[u8]) -> Option<Field<'_>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let name = is_name.then(|| std::str::from_utf8(name).ok()).flatten()?;
    Some(Field { name, value: &line[colon + 1..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_fields_stay_whole_and_the_body_begins_behind_the_blank_line() {
        let (fields, body) = split(b"A: 1\r\n 2\r\nb : x\r\nnot a field\r\n\r\nbody\r\n");
        assert_eq!(fields, [Field { name: "A", value: b" 1\r\n 2" }, Field { name: "b", value: b" x" }]);
        assert_eq!(body, b"body\r\n");
    }

    #[test]
    fn an_entity_without_header_is_all_body() {
        assert_eq!(split(b"just text: no\nmore"), (vec![], &b"just text: no\nmore"[..]));
        assert_eq!(split(b"\nbody"), (vec![], &b"body"[..]));
        assert_eq!(split(b"A: b"), (vec![Field { name: "A", value: b" b" }], &b""[..]));
        assert_eq!(split(b""), (vec![], &b""[..]));
    }

    #[test]
    fn the_raw_form_has_no_nul_and_is_utf8() {
        assert_eq!(Field { name: "a", value: b" x\0\xff" }.raw(), " x\u{fffd}");
    }
}

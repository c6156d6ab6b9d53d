//! Which parts make up the message shown as text, shown as HTML, and which are attachments: the algorithm of RFC 8621
//! section 4.1.4.

use super::structure::Part;

/// The three lists. A part may be in more than one.
#[derive(Debug, Default)]
pub struct Bodies<'p, 'a> {
    pub text: Vec<&'p Part<'a>>,
    pub html: Vec<&'p Part<'a>>,
    pub attachments: Vec<&'p Part<'a>>,
}

impl<'p, 'a> Bodies<'p, 'a> {
    pub fn of(root: &'p Part<'a>) -> Self {
        let mut bodies = Self::default();
        let wanted = Wanted { text: true, html: true };
        bodies.add(std::slice::from_ref(root), "mixed", false, wanted);
        bodies
    }

    /// `wanted` is the `null` of the RFC's lists: once a branch of an alternative has text, its HTML is not wanted.
    fn add(&mut self, parts: &'p [Part<'a>], multipart: &str, in_alternative: bool, mut wanted: Wanted) {
        let (text_before, html_before) = (self.text.len(), self.html.len());
        for (index, part) in parts.iter().enumerate() {
            if part.is_multipart() {
                let subtype = part.media_type.split_once('/').map_or("", |(_, subtype)| subtype);
                self.add(&part.parts, subtype, in_alternative || subtype == "alternative", wanted);
            } else if !is_inline(part, index, multipart) {
                self.attachments.push(part);
            } else if multipart == "alternative" {
                match part.media_type.as_str() {
                    "text/plain" => self.text.push(part),
                    "text/html" => self.html.push(part),
                    _ => self.attachments.push(part),
                }
            } else {
                if in_alternative {
                    wanted.html &= part.media_type != "text/plain";
                    wanted.text &= part.media_type != "text/html";
                }
                self.add_inline(part, wanted);
            }
        }
        if multipart == "alternative" && wanted.text && wanted.html {
            self.share(text_before, html_before);
        }
    }

    fn add_inline(&mut self, part: &'p Part<'a>, wanted: Wanted) {
        if wanted.text {
            self.text.push(part);
        }
        if wanted.html {
            self.html.push(part);
        }
        if !(wanted.text && wanted.html) && part.is_inline_media() {
            self.attachments.push(part);
        }
    }

    /// An alternative with only one of the two shows it in both.
    fn share(&mut self, text_before: usize, html_before: usize) {
        let (has_text, has_html) = (self.text.len() > text_before, self.html.len() > html_before);
        if has_html && !has_text {
            self.text.extend_from_slice(&self.html[html_before..]);
        } else if has_text && !has_html {
            self.html.extend_from_slice(&self.text[text_before..]);
        }
    }
}

#[derive(Clone, Copy)]
struct Wanted {
    text: bool,
    html: bool,
}

/// A body part rather than an attachment. In a `multipart/related` only the first can be; a text with a file name is
/// an attachment unless it comes first.
fn is_inline(part: &Part<'_>, index: usize, multipart: &str) -> bool {
    let is_shown = matches!(part.media_type.as_str(), "text/plain" | "text/html") || part.is_inline_media();
    part.disposition.as_deref() != Some("attachment")
        && is_shown
        && (index == 0 || (multipart != "related" && (part.is_inline_media() || part.name.is_none())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multipart(boundary: &str, subtype: &str, parts: &[String]) -> String {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\n{part}\n")).collect();
        format!("Content-Type: multipart/{subtype}; boundary={boundary}\n\n{parts}--{boundary}--")
    }

    fn leaf(media_type: &str, disposition: &str, body: &str) -> String {
        format!("Content-Type: {media_type}\nContent-Disposition: {disposition}\n\n{body}")
    }

    fn names(parts: &[&Part<'_>]) -> String {
        parts.iter().map(|part| String::from_utf8_lossy(part.body).trim().to_owned()).collect()
    }

    #[test]
    fn the_example_of_the_rfc_is_decomposed_as_it_says() {
        let inner = multipart(
            "d",
            "mixed",
            &[leaf("text/plain", "inline", "B"), leaf("image/jpeg", "inline", "C"), leaf("text/plain", "inline", "D")],
        );
        let related = multipart("e", "related", &[leaf("text/html", "inline", "E"), leaf("image/jpeg", "inline", "F")]);
        let alternative = multipart("c", "alternative", &[inner, related]);
        let middle = multipart(
            "b",
            "mixed",
            &[
                alternative,
                leaf("image/jpeg", "attachment", "G"),
                leaf("application/x-excel", "inline", "H"),
                leaf("message/rfc822", "inline", "J"),
            ],
        );
        let message =
            multipart("a", "mixed", &[leaf("text/plain", "inline", "A"), middle, leaf("text/plain", "inline", "K")]);
        let root = Part::parse(message.as_bytes());
        let bodies = Bodies::of(&root);
        assert_eq!(names(&bodies.text), "ABCDK");
        assert_eq!(names(&bodies.html), "AEK");
        assert_eq!(names(&bodies.attachments), "CFGHJ");
    }

    #[test]
    fn an_alternative_with_only_html_shows_it_as_text_too() {
        let message = multipart("a", "alternative", &[leaf("text/html", "inline", "H")]);
        let root = Part::parse(message.as_bytes());
        let bodies = Bodies::of(&root);
        assert_eq!((names(&bodies.text), names(&bodies.html)), ("H".into(), "H".into()));
    }
}

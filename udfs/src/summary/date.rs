//! The Date field (RFC 5322 section 3.3), when it is a date.

use mail_parser::DateTime;

/// RFC 3339 with the offset as sent; None for the 31st of February and the like.
pub(super) fn rfc3339(date: &DateTime) -> Option<String> {
    (date.is_valid() && exists(date)).then(|| date.to_rfc3339())
}

fn exists(date: &DateTime) -> bool {
    let is_leap = date.year.is_multiple_of(4) && (!date.year.is_multiple_of(100) || date.year.is_multiple_of(400));
    let days = match date.month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&date.day) && date.hour < 24 && date.minute < 60 && date.second < 60
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        let date = |text: &str| DateTime::parse_rfc822(text).as_ref().and_then(rfc3339);
        assert_eq!(date("Wed, 21 Aug 2002 20:31:57 +0900").unwrap(), "2002-08-21T20:31:57+09:00");
        assert_eq!(date("31 Feb 2002 20:31:57 +0000"), None);
        assert_eq!(date("29 Feb 2000 20:31:57 +0000").unwrap(), "2000-02-29T20:31:57Z");
    }
}

//! The date, which templates like to tell a model.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From the first of January 1970 on.
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the date is what is asked for")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `seconds` since 1970 in universal time, written as C's `strftime` would. What is not known here stays as it is.
pub(crate) fn written(format: &str, seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let bare = rest[at + 1..].starts_with('-');
        let mark = at + 1 + usize::from(bare);
        let Some(letter) = rest[mark..].chars().next() else { return out + &rest[at..] };
        let two = |number: u64| if bare { number.to_string() } else { format!("{number:02}") };
        match letter {
            'Y' => out.push_str(&year.to_string()),
            'y' => out.push_str(&two(year % 100)),
            'm' => out.push_str(&two(month)),
            'd' => out.push_str(&two(day)),
            'e' => out.push_str(&format!("{day:2}")),
            'B' => out.push_str(name),
            'b' => out.push_str(&name[..3]),
            'A' => out.push_str(DAYS[days as usize % 7]),
            'a' => out.push_str(&DAYS[days as usize % 7][..3]),
            'H' => out.push_str(&two(second / 3_600)),
            'M' => out.push_str(&two(second / 60 % 60)),
            'S' => out.push_str(&two(second % 60)),
            '%' => out.push('%'),
            'F' => out.push_str(&format!("{year}-{month:02}-{day:02}")),
            _ => out.push_str(&rest[at..mark + letter.len_utf8()]),
        }
        rest = &rest[mark + letter.len_utf8()..];
    }
    out + rest
}

/// Year, month and day of a day since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (mut year, mut left) = (1970, days);
    loop {
        let length = 365 + u64::from(is_leap(year));
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_a_template_wants_it() {
        // The last second of a leap day.
        let second = 1_709_251_199;
        assert_eq!(written("%d %b %Y", second), "29 Feb 2024");
        assert_eq!(written("%A, %-d. %B %y, %H:%M:%S", second), "Thursday, 29. February 24, 23:59:59");
        assert_eq!(written("%F", second + 1), "2024-03-01");
        assert_eq!(written("%a %-m/%-d 100%% %Q %", 0), "Thu 1/1 100% %Q %");
    }
}

//! Numbers as a person reads them.

/// A time in the unit that is readable: three digits that mean something.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0".to_owned(),
        s if s < 0.000_999_5 => format!("{} µs", digits(s * 1e6)),
        s if s < 0.999_5 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} s", digits(s)),
    }
}

/// A time that is round.
pub(super) fn round_seconds(time: f64) -> String {
    match time {
        t if t < 0.000_999 => format!("{} µs", trimmed(t * 1e6)),
        t if t < 0.999 => format!("{} ms", trimmed(t * 1e3)),
        t => format!("{} s", trimmed(t)),
    }
}

/// A number without the zeros at its end.
pub(super) fn trimmed(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number with three digits that mean something, and with all before the point.
pub(super) fn digits(number: f64) -> String {
    match number.abs() {
        n if n < 9.995 => format!("{number:.2}"),
        n if n < 99.95 => format!("{number:.1}"),
        _ => count(number.round().max(0.0) as u64),
    }
}

/// So many each second.
pub(super) fn rate(rate: f64) -> String {
    digits(rate)
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let plain = count.to_string();
    let mut apart = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// A share in percent; what is not all is never shown as all.
pub(super) fn percent(share: f64) -> String {
    let shown = share * 100.0;
    if share < 1.0 && shown > 99.95 { ">99.9 %".to_owned() } else { format!("{shown:.1} %") }
}

/// An amount of US dollars.
pub(super) fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.995 { format!("{amount:.3}") } else { format!("{amount:.2}") }
}

/// `name` in at most `width` columns.
pub(super) fn clip(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    name.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts_are_readable() {
        assert_eq!(seconds(0.000_012_3), "12.3 µs");
        assert_eq!(seconds(0.123_4), "123 ms");
        assert_eq!(seconds(0.999_9), "1.00 s");
        assert_eq!(seconds(75.32), "75.3 s");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(percent(0.999_99), ">99.9 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(clip("a-long-name", 6), "a-lon…");
    }
}

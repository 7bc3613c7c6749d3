//! Text for people: grouped digits, sizes, and columns that line up.

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 epoch`, `2,000 epochs`: a count of things that `one` names.
pub fn counted(n: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A number as short as it is exact: `0.1`, and `1e12` where that is shorter than its zeros.
pub fn number(x: f64) -> String {
    if x == 0.0 || (1e-4..1e6).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}

/// Millions with two decimals, such as `1,361.85 M`.
pub fn millions(n: u64) -> String {
    let hundredths = (u128::from(n) + 5_000) / 10_000;
    format!("{}.{:02} M", grouped((hundredths / 100) as u64), hundredths % 100)
}

/// Bytes in the largest binary unit that leaves at least one, such as `12.5 MiB`.
pub fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = n as f64;
    let mut name = "B";
    for unit in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        name = unit;
    }
    if name == "B" { format!("{n} B") } else { format!("{size:.1} {name}") }
}

/// A column's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows as lines whose columns line up, two spaces apart. Widths are counted in characters, wide ones as two.
pub fn columns(alignment: &[Align], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..alignment.len())
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, align), wanted) in row.iter().zip(alignment).zip(&widths) {
            let space = " ".repeat(wanted - width(cell));
            match align {
                Align::Left => line.extend([cell, &*space]),
                Align::Right => line.extend([&*space, cell]),
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Terminal columns of a text: East Asian wide characters take two.
pub fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c as u32, 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
            | 0xFE30..=0xFE4F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_rounded() {
        assert_eq!([0, 999, 1000, 10_300_532].map(grouped), ["0", "999", "1,000", "10,300,532"]);
        assert_eq!([1_361_847_552, 4_999, 5_000].map(millions), ["1,361.85 M", "0.00 M", "0.01 M"]);
        assert_eq!([0, 1023, 1536, 13_107_200].map(bytes), ["0 B", "1023 B", "1.5 KiB", "12.5 MiB"]);
    }

    #[test]
    fn one_is_one_and_huge_is_short() {
        assert_eq!([0, 1, 2000].map(|n| counted(n, "epoch")), ["0 epochs", "1 epoch", "2,000 epochs"]);
        assert_eq!([0.1, -1.0, 1e12, 3e-7].map(number), ["0.1", "-1", "1e12", "3e-7"]);
        assert_eq!([f64::INFINITY, f64::NAN].map(number), ["inf", "NaN"]);
    }

    #[test]
    fn columns_line_up_under_wide_characters() {
        let rows = [["猫", "1"], ["dogs", "10"]].map(|r| r.map(String::from).to_vec());
        assert_eq!(columns(&[Align::Left, Align::Right], &rows), "猫     1\ndogs  10\n");
    }
}

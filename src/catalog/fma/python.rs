//! Lists as Python prints them: `[21, 76]`, `['it\'s', "b"]`.

/// One element of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An integer.
    Integer(i64),
    /// A string.
    Text(String),
    /// `None`, also `nan`.
    Missing,
}

/// Reads a Python list of integers, strings and `None`; none for anything else.
#[must_use]
pub fn list(text: &str) -> Option<Vec<Item>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut rest = inner.trim_start();
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, after) = item(rest)?;
        items.push(item);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some(items)
}

/// Reads a list of ids, which some tables hold as strings.
#[must_use]
pub fn ids(text: &str) -> Option<Vec<i64>> {
    let items = list(text)?
        .into_iter()
        .filter(|item| *item != Item::Missing);
    items
        .map(|item| match item {
            Item::Integer(id) => Some(id),
            Item::Text(text) => text.trim().parse().ok(),
            Item::Missing => None,
        })
        .collect()
}

fn item(text: &str) -> Option<(Item, &str)> {
    let unprefixed = text.strip_prefix(['u', 'U']).unwrap_or(text);
    if let Some(quote) = unprefixed
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
    {
        let (text, rest) = string(&unprefixed[1..], quote)?;
        return Some((Item::Text(text), rest));
    }
    let end = text
        .find(|c: char| c == ',' || c.is_whitespace())
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    match word {
        "None" | "nan" => Some((Item::Missing, rest)),
        number => Some((Item::Integer(number.parse().ok()?), rest)),
    }
}

/// Reads up to the closing `quote`; what follows is given back.
fn string(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            c if c == quote => return Some((value, chars.as_str())),
            '\\' => chars = escape(chars.as_str(), &mut value)?.chars(),
            c => value.push(c),
        }
    }
}

/// Reads what follows a backslash (Python reference, "String and Bytes literals").
fn escape<'a>(text: &'a str, value: &mut String) -> Option<&'a str> {
    let mut chars = text.chars();
    let hex = |digits: usize| {
        let code = text.get(1..=digits)?;
        // `from_str_radix` would also take a sign.
        let hexadecimal = code.bytes().all(|b| b.is_ascii_hexdigit());
        let number = hexadecimal.then(|| u32::from_str_radix(code, 16).ok())??;
        // A lone half of a surrogate pair is no character.
        Some((
            char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER),
            &text[1 + digits..],
        ))
    };
    let plain = match chars.next()? {
        '\n' => return Some(chars.as_str()),
        c @ ('\\' | '\'' | '"') => c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        '0' => '\0',
        kind @ ('x' | 'u' | 'U') => {
            let digits = match kind {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let (c, rest) = hex(digits)?;
            value.push(c);
            return Some(rest);
        }
        // Python keeps the backslash of an escape that it does not know.
        other => {
            value.push('\\');
            other
        }
    };
    value.push(plain);
    Some(chars.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> Item {
        Item::Text(value.to_owned())
    }

    #[test]
    fn reads_what_python_prints() {
        assert_eq!(ids("[21, 76]").unwrap(), [21, 76]);
        assert_eq!(ids("[]").unwrap(), [0_i64; 0]);
        assert_eq!(ids(" [ -3 ,] ").unwrap(), [-3]);
        assert_eq!(ids("['21', None, '76']").unwrap(), [21, 76]);
        assert_eq!(list("['a', 'b']").unwrap(), [text("a"), text("b")]);
        assert_eq!(
            list(r#"['it\'s', "say \"hi\"", 'a, b]', u'\u00e9\x41\n', '\U0001F3B5', 'C:\music']"#)
                .unwrap(),
            [
                text("it's"),
                text("say \"hi\""),
                text("a, b]"),
                text("éA\n"),
                text("🎵"),
                text("C:\\music"),
            ]
        );
        assert_eq!(list(r"['\ud83c']").unwrap(), [text("\u{fffd}")]);
    }

    #[test]
    fn refuses_what_is_no_list() {
        for bad in [
            "",
            "21",
            "[",
            "]",
            "[1 2]",
            "['a]",
            "[,]",
            "[1,,2]",
            "['a' 'b']",
            r"['\x+1']",
            r"['\x']",
            "[1.5]",
            "{1}",
            "[[1]]",
            "[']",
            r"['\']",
            "[99999999999999999999]",
        ] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = list(&text);
            let _ = list(&format!("['{text}']"));
            let _ = list(&format!("['\\x{text}']"));
        }

        #[test]
        fn reads_back_what_was_printed(values in proptest::collection::vec(any::<String>(), 0..5)) {
            let printed: Vec<_> = values
                .iter()
                .map(|v| format!("'{}'", v.replace('\\', r"\\").replace('\'', r"\'")))
                .collect();
            let expected: Vec<_> = values.iter().map(|v| text(v)).collect();
            prop_assert_eq!(list(&format!("[{}]", printed.join(", "))), Some(expected));
        }
    }
}

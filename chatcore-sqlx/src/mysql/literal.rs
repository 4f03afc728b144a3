//! Statements as text, for the one place where several of them go to the server in one message.
//!
//! Prepared statements cannot be sent together. Every value is written in hexadecimal or as a number, so there is nothing in a value that
//! could end its literal, whatever the server's mode.

use uuid::Uuid;

use super::script::Value;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn push_hex(sql: &mut String, bytes: &[u8]) {
    sql.reserve(2 * bytes.len() + 3);
    sql.push_str("x'");
    for byte in bytes {
        sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
        sql.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    sql.push('\'');
}

pub(super) fn push_id(sql: &mut String, id: Uuid) {
    push_hex(sql, id.as_bytes());
}

pub(super) fn push_value(sql: &mut String, value: Value<'_>) {
    match value {
        Value::Null => sql.push_str("NULL"),
        Value::Int(number) => sql.push_str(&number.to_string()),
        Value::Id(id) => push_id(sql, id),
        Value::Text(text) => {
            // Without this it would be a string of bytes.
            sql.push_str("_utf8mb4 ");
            push_hex(sql, text.as_bytes());
        }
    }
}

/// Items with commas between them.
pub(super) fn push_list<T>(sql: &mut String, items: impl IntoIterator<Item = T>, mut push: impl FnMut(&mut String, T)) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            sql.push(',');
        }
        push(sql, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: Value<'_>) -> String {
        let mut sql = String::new();
        push_value(&mut sql, value);
        sql
    }

    #[test]
    fn values_are_written_so_that_nothing_in_them_counts() {
        assert_eq!(written(Value::Null), "NULL");
        assert_eq!(written(Value::Int(-7)), "-7");
        assert_eq!(written(Value::Id(Uuid::nil())), format!("x'{}'", "0".repeat(32)));
        assert_eq!(written(Value::Text("")), "_utf8mb4 x''");
        assert_eq!(written(Value::Text("'\\;☃")), "_utf8mb4 x'275C3BE29883'");
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_back(text in ".*") {
            let sql = written(Value::Text(&text));
            let hex = sql.strip_prefix("_utf8mb4 x'").and_then(|rest| rest.strip_suffix('\'')).unwrap();
            let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(|pair| {
                u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
            }).collect();
            proptest::prop_assert_eq!(bytes, text.into_bytes());
        }
    }
}

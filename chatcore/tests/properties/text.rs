//! Newtypes: whatever is typed, parsing does not panic, what it accepts keeps the rules, and parsing that again changes
//! nothing.

use chatcore::id::{IdSource, RandomIds, UserId};
use chatcore::model::{
    Body, ClientId, DeviceName, DisplayName, DraftKey, Email, Emoji, FieldCode, ParseError, Password, RoomName,
    SearchKey, Seq, Username,
};
use chatcore::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use unicode_normalization::{is_nfc, is_nfkc};
use unicode_segmentation::UnicodeSegmentation;

/// Characters that normalisation makes longer, shorter or into something else, that fold oddly, or that do not show.
const ODD: &[&str] = &[
    " ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{85}",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{ad}",
    "\u{34f}",
    "\u{fe0f}",
    "\u{e0101}",
    "\u{3164}",
    "\u{2800}",
    "\u{202e}",
    "\u{301}",
    "\u{307}",
    "\u{345}",
    "\u{344}",
    "\u{1d160}",
    "\u{958}",
    "\u{fb2c}",
    "\u{fdfa}",
    "\u{fb03}",
    "\u{212a}",
    "\u{2126}",
    "\u{37e}",
    "\u{1fef}",
    "\u{b4}",
    "\u{a8}",
    "\u{1e9b}\u{323}",
    "\u{130}",
    "\u{df}",
    "\u{1e9e}",
    "\u{3a3}",
    "\u{3c2}",
    "\u{1f80}",
    "\u{1c5}",
    "\u{1100}\u{1161}\u{11a8}",
    "e\u{301}",
    "A",
    "z",
    "Z",
    "0",
    "_",
    ".",
    "@",
    "%",
    "\\",
    "👍🏽",
    "👩‍👩‍👧",
    "🇩🇪",
    "\u{10ffff}",
];

/// Short and long, plain and odd.
fn text() -> impl Strategy<Value = String> {
    let piece = || prop_oneof![4 => select(ODD).prop_map(str::to_owned), 2 => "[a-z0-9._]{1,4}", 1 => "\\PC{1,3}"];
    let pieces = prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat());
    // Around all the limits, of something that may be longer under its normal form.
    let long = (select(ODD), 1..5_000_usize).prop_map(|(piece, count)| piece.repeat(count));
    let near = (piece(), select(&[1, 3, 31, 63, 79, 99, 127, 253, 3999][..]), 0..3_usize)
        .prop_map(|(piece, count, more)| piece.repeat(count) + &"a".repeat(more));
    prop_oneof![4 => pieces, 1 => long, 2 => near, 2 => any::<String>()]
}

/// An address, or nearly.
fn address() -> impl Strategy<Value = String> {
    (text(), select(&["example.org", "Example.ORG", "b\u{fc}cher.example", "x", "[127.0.0.1]", ""][..]))
        .prop_map(|(local, domain)| format!("{local}@{domain}"))
}

/// Parses what parsing gave; fails unless it is the same.
fn assert_settled<T: PartialEq + std::fmt::Debug>(
    parsed: &T,
    again: &Result<T, ParseError>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(again.as_ref(), Ok(parsed));
    Ok(())
}

/// Fails unless there is something to see, and nothing that hides or reorders.
fn assert_shows(text: &str) -> Result<(), TestCaseError> {
    let hidden = |c: char| {
        c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{200c}' | '\u{200d}' | '\u{fe0f}' | '\u{e0101}')
            || matches!(c, '\u{1160}' | '\u{3164}' | '\u{2800}')
    };
    prop_assert!(!text.chars().all(hidden), "{text:?} does not show");
    prop_assert!(!text.contains(['\0', '\u{85}', '\u{202e}', '\u{200b}', '\u{feff}', '\n']), "{text:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn usernames(input in prop_oneof![text(), "[a-zA-Z][a-zA-Z0-9._]{0,40}"]) {
        if let Ok(name) = Username::parse(&input) {
            assert_settled(&name, &Username::parse(name.as_str()))?;
            prop_assert_eq!(name.as_str(), input.to_ascii_lowercase());
            prop_assert!((3..=32).contains(&name.as_str().len()));
            prop_assert!(name.as_str().bytes().all(|b| b"abcdefghijklmnopqrstuvwxyz0123456789_.".contains(&b)));
            prop_assert!(name.as_str().as_bytes()[0].is_ascii_lowercase());
            // Who gives no other name is called so, as if it had been typed.
            assert_settled(&DisplayName::from(&name), &DisplayName::parse(name.as_str()))?;
        }
    }

    #[test]
    fn display_names(input in text()) {
        if let Ok(name) = DisplayName::parse(&input) {
            assert_settled(&name, &DisplayName::parse(name.as_str()))?;
            prop_assert!((1..=64).contains(&name.as_str().chars().count()));
            prop_assert!(is_nfkc(name.as_str()));
            prop_assert_eq!(name.as_str().trim(), name.as_str());
            assert_shows(name.as_str())?;
        }
    }

    #[test]
    fn room_names(input in text()) {
        if let Ok(name) = RoomName::parse(&input) {
            assert_settled(&name, &RoomName::parse(name.as_str()))?;
            prop_assert!((1..=80).contains(&name.as_str().chars().count()));
            prop_assert!(is_nfkc(name.as_str()));
            assert_shows(name.as_str())?;
        }
    }

    #[test]
    fn device_names(input in text()) {
        if let Ok(name) = DeviceName::parse(&input) {
            assert_settled(&name, &DeviceName::parse(name.as_str()))?;
            prop_assert!((1..=100).contains(&name.as_str().chars().count()));
            prop_assert_eq!(name.as_str(), input.trim());
        }
    }

    #[test]
    fn addresses(input in address()) {
        if let Ok(address) = Email::parse(&input) {
            assert_settled(&address, &Email::parse(address.as_str()))?;
            prop_assert!(address.as_str().len() <= 254);
            prop_assert!(is_nfc(address.as_str()));
            // The key is one for every case of its letters.
            let key = address.key();
            if let Ok(folded) = Email::parse(&key) {
                prop_assert_eq!(folded.key(), key);
            }
            if let Ok(shouted) = Email::parse(&address.as_str().to_ascii_uppercase()) {
                prop_assert_eq!(shouted.key(), address.key());
            }
        }
    }

    #[test]
    fn bodies(input in text()) {
        match Body::parse(&input) {
            Ok(body) => {
                assert_settled(&body, &Body::parse(body.as_str()))?;
                prop_assert!((1..=4000).contains(&body.as_str().chars().count()));
                prop_assert!(is_nfc(body.as_str()));
                prop_assert!(!body.as_str().contains('\0'));
                prop_assert!(!body.as_str().trim().is_empty());
                prop_assert!(!body.as_str().starts_with(['\r', '\n']) && !body.as_str().ends_with(['\r', '\n']));
            }
            Err(error) if error.code() == FieldCode::Blank => prop_assert!(input.trim().is_empty()),
            Err(_) => {}
        }
    }

    #[test]
    fn emojis(input in text()) {
        if let Ok(emoji) = Emoji::parse(&input) {
            assert_settled(&emoji, &Emoji::parse(emoji.as_str()))?;
            prop_assert!((1..=32).contains(&emoji.as_str().len()));
            prop_assert!(is_nfc(emoji.as_str()));
            prop_assert_eq!(emoji.as_str().graphemes(true).count(), 1);
            assert_shows(emoji.as_str())?;
        }
    }

    #[test]
    fn client_ids(input in prop_oneof![text(), "[ -~]{0,70}"]) {
        let legal = (1..=64).contains(&input.len()) && input.bytes().all(|b| (0x20..=0x7e).contains(&b));
        let parsed = ClientId::parse(&input);
        prop_assert_eq!(parsed.is_ok(), legal);
        if let Ok(id) = parsed {
            prop_assert_eq!(id.as_str(), &input);
            let key = DraftKey::from_client(&id);
            prop_assert!((1..=66).contains(&key.as_str().len()));
            // No text of a client's meets a key of the service's.
            prop_assert!(key.as_str().starts_with("c:"));
        }
    }

    #[test]
    fn passwords(input in text()) {
        let parsed = Password::parse(&input);
        prop_assert_eq!(parsed.is_ok(), (8..=128).contains(&input.chars().count()));
        if let Ok(password) = parsed {
            prop_assert_eq!(password.reveal(), &input);
            let shown = format!("{password:?}");
            prop_assert!(!shown.contains(&input));
        }
    }

    /// Whoever has a name is found by the beginning of it, however it is typed.
    #[test]
    fn search_keys(input in text(), length in 2..64_usize) {
        if let Ok(key) = SearchKey::parse(&input) {
            assert_settled(&key, &SearchKey::parse(key.as_str()))?;
            prop_assert!((2..=64).contains(&key.as_str().chars().count()));
        }
        if let Ok(name) = DisplayName::parse(&input) {
            let key = name.search_key();
            prop_assert!(is_nfkc(key.as_str()));
            prop_assert!(key.as_str().chars().count() <= 2 * DisplayName::MAX, "what stores may rely on");
            if let Ok(typed) = SearchKey::parse(&input) {
                prop_assert_eq!(&typed, &key);
            }
            let beginning: String = key.as_str().chars().take(length).collect();
            if let Ok(prefix) = SearchKey::parse(&beginning) {
                prop_assert!(key.as_str().starts_with(prefix.as_str()), "{prefix:?} begins {key:?}");
            }
        }
    }

    #[test]
    fn ids(input in text(), micros in 0..4_000_000_000_000_000_i64) {
        if let Ok(id) = input.parse::<UserId>() {
            prop_assert_eq!(id.to_string(), input);
        }
        let made = UserId::from_uuid(RandomIds::default().next(Timestamp::from_micros(micros)));
        prop_assert_eq!(made.to_string().parse(), Ok(made));
    }

    #[test]
    fn positions(number in any::<u64>()) {
        let legal = number > 0 && number < 1 << 53;
        prop_assert_eq!(Seq::new(number).map(Seq::number), legal.then_some(number));
    }

    #[test]
    fn times(one in any::<i64>(), micros in any::<u64>()) {
        let (at, by) = (Timestamp::from_micros(one), std::time::Duration::from_micros(micros));
        prop_assert!(at.plus(by) >= at && at.minus(by) <= at);
        prop_assert!(at.plus(by).since(at) <= by);
        prop_assert_eq!(at.since(at.plus(by)), std::time::Duration::ZERO);
    }
}

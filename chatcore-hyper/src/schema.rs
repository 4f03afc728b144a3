//! What the API document says of the values that occur everywhere: their forms and ranges.
//!
//! Fields keep their plain types; these stand in for them in the document.

use std::borrow::Cow;

use chatcore::model::Seq;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr};
use utoipa::{PartialSchema, ToSchema};

macro_rules! schemas {
    ($($(#[doc = $doc:literal])+ $name:ident = $object:expr;)*) => {$(
        $(#[doc = $doc])+
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let description = concat!($($doc, "\n"),+);
                $object.description(Some(description.trim())).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

macro_rules! uuid {
    () => {
        "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
    };
}

schemas! {
    /// UUIDv7, in lower case and hyphenated.
    Id = text(
        "uuid",
        concat!("^", uuid!(), "$"),
        "01a202c0-f64b-7f11-9abc-0123456789ab",
    );
    /// 1 to 100 ids, comma-separated.
    Ids = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(concat!("^", uuid!(), "(,", uuid!(), "){0,99}$")));
    /// RFC 3339, in UTC with milliseconds.
    Time = text(
        "date-time",
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        "2026-11-22T10:15:30.123Z",
    );
    /// The number of an event of a room's log.
    Position = whole(1);
    /// The number of an event of a room's log, or 0: before the first.
    Place = whole(0);
    /// A key of the client's own: printable ASCII.
    Key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(64))
        .pattern(Some("^[ -~]*$"));
    /// One grapheme of at most 32 bytes.
    EmojiText = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(32)).examples(["👍"]);
}

fn text(format: &str, pattern: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom(format.to_owned())))
        .pattern(Some(pattern))
        .examples([example])
}

fn whole(least: u64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least))
        .maximum(Some(Seq::MAX))
}

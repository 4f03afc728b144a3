//! The memory store keeps every contract.

use std::sync::Arc;

use chatcore::memory::MemoryStore;
use chatcore::store::Storage;

async fn store() -> (Storage, ()) {
    (Storage::single(Arc::new(MemoryStore::new())), ())
}

mod conformance {
    use super::*;

    chatcore::testing::conformance!(store);
}

#[test]
fn model() {
    use chatcore::testing::model;
    model::run(model::cases(64), store);
}

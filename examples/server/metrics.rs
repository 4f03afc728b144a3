//! What a Prometheus server reads: the counters of the library, in the text format.

use chatcore_hyper::Api;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// All metrics as they are now.
pub(crate) fn text(api: &Api) -> String {
    let mut registry = Registry::with_prefix("chatcore");
    let hub = api.chat().stats();
    let vitals = api.chat().vitals();
    let stats = api.stats();
    let connections = api.connections().stats();
    let gauges = [
        ("connections", "Live connections", hub.connections as u64),
        ("sockets", "Sockets whose tasks run, also those that are about to end", stats.sockets),
        ("users_present", "Users with a connection, or without one for a few seconds", hub.users as u64),
        ("rooms_listened", "Rooms with a listener", hub.rooms as u64),
        ("tail_bytes", "Bytes that the ends of logs take in memory", hub.tail_bytes as u64),
        ("drafts_waiting", "Drafts that wait for the log", vitals.drafts_waiting as u64),
        ("password_memory_bytes", "Bytes that password hashing holds", api.chat().password_memory()),
        ("http_connections", "Connections of all kinds, sockets included", connections.open as u64),
        (
            "unsent_bytes",
            "Bytes of answers that clients have not taken yet, and those set aside for requests under way",
            stats.unsent_bytes,
        ),
        ("tasks", "Tasks of the runtime that have not ended", tasks()),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(number(value)));
    }
    let counters = [
        ("signals_dropped", "Signals that a connection did not take in time", hub.signals_dropped),
        ("event_frames", "Event frames written", stats.events),
        ("frames_read", "Frames read", stats.frames),
        ("connections_refused", "Connections refused because all were busy", connections.refused),
        ("connections_gave_way", "Idle connections ended to make room for others", connections.gave_way),
        ("password_hashes", "Password hashes computed", api.chat().password_hashes()),
        ("task_panics", "Panics of the service's own tasks, each of which was begun again", vitals.task_panics),
        ("reconciles", "Comparisons of what connected users rely on with the store", vitals.reconciles),
        ("reconciles_late", "Those that took too long and were given up", vitals.reconciles_late),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let last = ConstGauge::new(vitals.last_reconcile.as_secs_f64());
    registry.register("last_reconcile_seconds", "Time that the latest of them took", last);
    let entries = Family::<[(&str, &str); 1], Gauge>::default();
    for (map, size) in api.map_sizes() {
        entries.get_or_create(&[("map", map)]).set(number(size as u64));
    }
    registry.register("map_entries", "Entries of the maps that grow with what clients do", entries);
    let responses = Family::<[(&str, &str); 1], Counter>::default();
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(stats.responses) {
        responses.get_or_create(&[("class", class)]).inc_by(count);
    }
    registry.register("http_responses", "Requests answered", responses);
    let mut text = String::new();
    // Writing into a string does not fail.
    if encode(&mut text, &registry).is_err() {
        tracing::error!("the metrics could not be written");
    }
    text
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn tasks() -> u64 {
    tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use chatcore::memory::MemoryStore;
    use chatcore::model::AccessSecret;
    use chatcore::store::Storage;
    use chatcore::{Chat, Settings};
    use chatcore_hyper::HttpSettings;

    use super::*;

    #[tokio::test]
    async fn every_map_is_told_and_every_name_described_once() {
        let secret = AccessSecret::new("a secret of thirty-two bytes or more").unwrap();
        let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), Settings::new(secret)).start().unwrap();
        let api = Api::new(chat, HttpSettings::default());
        let text = text(&api);
        for (map, _) in api.map_sizes() {
            assert!(text.contains(&format!("\nchatcore_map_entries{{map=\"{map}\"}} 0\n")), "{map}: {text}");
        }
        let described: Vec<_> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
        // The format allows one description per name, whatever labels it has.
        assert_eq!(described.iter().collect::<HashSet<_>>().len(), described.len(), "{text}");
        assert!(text.contains("\nchatcore_http_responses_total{class=\"5xx\"} 0\n"), "{text}");
        assert!(text.contains("\nchatcore_last_reconcile_seconds "), "{text}");
        let tasks = text.lines().find_map(|line| line.strip_prefix("chatcore_tasks "));
        assert!(tasks.is_some_and(|tasks| tasks != "0"), "{text}");
    }
}

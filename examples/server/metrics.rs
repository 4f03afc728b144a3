//! What a Prometheus server reads: the counters of the library, in the text format.

use chatcore_hyper::Api;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// All metrics as they are now.
pub(crate) fn text(api: &Api) -> String {
    let mut registry = Registry::with_prefix("chatcore");
    let hub = api.chat().stats();
    let stats = api.stats();
    let connections = api.connections().stats();
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let gauges = [
        ("connections", "Live connections", hub.connections),
        ("users_present", "Users with a connection, or without one for a few seconds", hub.users),
        ("rooms_listened", "Rooms with a listener", hub.rooms),
        ("tail_bytes", "Bytes that the ends of logs take in memory", hub.tail_bytes),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let gauges = [
        ("http_connections", "Connections of all kinds, sockets included", number(connections.open)),
        (
            "unsent_bytes",
            "Bytes of answers that clients have not taken yet, and those set aside for requests under way",
            i64::try_from(stats.unsent_bytes).unwrap_or(i64::MAX),
        ),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(value));
    }
    for (map, entries) in api.map_sizes() {
        registry.sub_registry_with_label(("map".into(), map.into())).register(
            "map_entries",
            "Entries of the maps that grow with what clients do",
            ConstGauge::new(number(entries)),
        );
    }
    let counters = [
        ("signals_dropped", "Signals that a connection did not take in time", hub.signals_dropped),
        ("event_frames", "Event frames written", stats.events),
        ("frames_read", "Frames read", stats.frames),
        ("connections_refused", "Connections refused because all were busy", connections.refused),
        ("connections_gave_way", "Idle connections ended to make room for others", connections.gave_way),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(stats.responses) {
        registry.sub_registry_with_label(("class".into(), class.into())).register(
            "http_responses",
            "Requests answered",
            ConstCounter::new(count),
        );
    }
    let mut text = String::new();
    // Writing into a string does not fail.
    if encode(&mut text, &registry).is_err() {
        tracing::error!("the metrics could not be written");
    }
    text
}

//! What has to hold after each wave.

use std::time::Duration;

use super::Report;
use super::attack::Ending;
use super::bystander::Noticed;
use super::wave::{Level, Played, Wave};
use crate::say;

#[cfg(test)]
mod tests;

/// KiB that may stay allocated from one wave to the next of its kind, from the second on: maps grow in steps, and keep keys for a while.
const KEPT: u64 = 1024;
/// KiB that may stay resident: an allocator keeps what lies between, and SQLite what it has read. Coarse, and there for what is not counted as allocated.
const KEPT_RESIDENT: u64 = 32 * 1024;
/// KiB that may be allocated in the second half of a wave: what nobody reads has to have come to its bound by then.
const CREEP: u64 = 3 * 1024;
/// KiB that the memory store may keep for each event, with its message, its key, and what indexes it.
pub const STORED_IN_MEMORY: u64 = 2;
/// Entries of each map: a throttle keeps 100,000 keys, a cache 131,072.
const MAP: u64 = 131_072;
/// The bystanders' 99th percentile may be so many times that of the quiet, and so much more. Without optimisation whatever an attacker may do takes
/// ten times as long as it should, and the cores that there are get less far with it.
const SLOWER: (u32, Duration) =
    (5, if cfg!(debug_assertions) { Duration::from_secs(4) } else { Duration::from_millis(50) });
/// Nobody else may hear nothing for longer.
const SILENCE: Duration = Duration::from_secs(5);

/// Returns whether the server has come back to where it was.
pub fn is_calm(wave: &Wave, quiet: &Level, earlier: &[&Wave]) -> bool {
    quiet.exceeded(&wave.after).is_empty() && wave.after.metric("drafts_waiting") < 8 && kept(wave, earlier).is_none()
}

/// What this wave has left behind, where that is more than it may: compared with the wave before, from the third on.
fn kept(wave: &Wave, earlier: &[&Wave]) -> Option<String> {
    let [_, .., before] = earlier else { return None };
    let held = [
        ("allocated", wave.after.heap, before.after.heap, KEPT + wave.stored),
        ("resident", wave.after.process.rss, before.after.process.rss, KEPT_RESIDENT + wave.stored),
    ];
    let grown = held.iter().map(|(what, after, before, most)| (what, after.saturating_sub(*before), most));
    let lines = grown.filter(|(_, grown, most)| grown > *most);
    let lines: Vec<_> = lines.map(|(what, grown, most)| format!("{grown} KiB more {what}, not {most}")).collect();
    (!lines.is_empty()).then(|| format!("memory: compared with the wave before, {}", lines.join(" and ")))
}

/// Returns a line for each promise that was not kept.
pub fn broken(report: &Report) -> Vec<String> {
    let mut broken = Vec::new();
    for (index, wave) in report.waves.iter().enumerate() {
        let earlier: Vec<&Wave> = report.waves[..index].iter().filter(|before| before.group == wave.group).collect();
        let lines = [
            memory(wave, &earlier),
            given_back(wave, &report.quiet),
            vitals(wave),
            bystanders(wave, &report.undisturbed),
        ];
        broken.extend(lines.concat().into_iter().map(|line| format!("{} {}: {line}", wave.group, wave.number)));
    }
    broken.extend(trends(report));
    broken
}

fn memory(wave: &Wave, earlier: &[&Wave]) -> Vec<String> {
    let mut broken = Vec::new();
    let most = wave.peak_allowed + wave.stored;
    let heights = [
        ("allocated", wave.peak(|sample| sample.heap).saturating_sub(wave.before.heap)),
        ("resident", wave.peak(|sample| sample.process.rss).saturating_sub(wave.before.process.rss)),
    ];
    let too_high = heights.iter().filter(|(_, height)| *height > most);
    broken.extend(too_high.map(|(what, height)| format!("memory: {height} KiB more {what} at the height, not {most}")));
    // The first wave of a kind warms up.
    let (creep, most) = (wave.creep(), CREEP + wave.late_allowed + wave.stored);
    if wave.number > 1 && creep > most {
        broken.push(format!("memory: {creep} KiB more allocated in the second half, not {most}"));
    }
    broken.extend(kept(wave, earlier));
    broken
}

/// Growth from the second wave of a kind to its last one, in every step.
fn trends(report: &Report) -> Vec<String> {
    let mut broken = Vec::new();
    for last in report.waves.iter().filter(|wave| wave.number > 3) {
        let kind: Vec<&Wave> = report.waves.iter().filter(|wave| wave.group == last.group && wave.number > 1).collect();
        let is_last = kind.last().is_some_and(|wave| wave.number == last.number);
        let rises = kind.windows(2).all(|pair| pair[1].after.heap > pair[0].after.heap + pair[1].stored);
        let [first, ..] = kind.as_slice() else { continue };
        let grown = last.after.heap.saturating_sub(first.after.heap);
        if is_last && rises && grown > KEPT {
            broken.push(format!(
                "{}: memory: rises with every wave, {grown} KiB from the second to the last",
                last.group
            ));
        }
    }
    broken
}

fn given_back(wave: &Wave, quiet: &Level) -> Vec<String> {
    let mut broken: Vec<String> =
        quiet.exceeded(&wave.after).into_iter().map(|what| format!("not given back: {what}")).collect();
    let maps = wave.after.maps().filter(|(_, size)| *size > MAP);
    broken.extend(maps.map(|(map, size)| format!("map {map}: {size} entries, not {MAP}")));
    broken
}

fn vitals(wave: &Wave) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, what) in
        [("task_panics_total", "panics"), ("reconciles_late_total", "comparisons with the store given up")]
    {
        let more = wave.after.metric(name).saturating_sub(wave.before.metric(name));
        if more > 0 {
            broken.push(format!("{more} {what}"));
        }
    }
    // An attacker that does nothing proves nothing.
    for Played { kind, sent, refused } in &wave.played {
        if *sent == 0 {
            broken.push(format!("{} has sent nothing", kind.name));
        }
        // In the first wave others of the family may have kept the server too busy to come so far.
        if wave.number > 1 && kind.ending == Ending::Refused && *refused == 0 {
            broken.push(format!("{} was never stopped: {sent} sent", kind.name));
        }
    }
    broken
}

fn bystanders(wave: &Wave, undisturbed: &Noticed) -> Vec<String> {
    let mut broken = Vec::new();
    let (times, more) = SLOWER;
    let (p99, most) = (wave.noticed.percentile(99), undisturbed.percentile(99) * times + more);
    if p99 > most {
        broken.push(format!("bystanders: a post takes {p99:.0?} (p99), not {most:.0?}"));
    }
    let silence = wave.noticed.longest().max(wave.afterwards.longest());
    if silence > SILENCE {
        broken.push(format!("bystanders: nothing heard for {silence:.0?}"));
    }
    let troubles = wave.noticed.troubles.iter().chain(&wave.afterwards.troubles);
    broken.extend(troubles.map(|trouble| format!("bystanders: {trouble}")));
    broken
}

/// Prints what was found, and returns whether every promise was kept.
pub fn tell(report: &Report) -> bool {
    for line in &report.broken {
        say(&format!("BROKEN {line}"));
    }
    let waves = report.waves.len();
    let sent: u64 = report.waves.iter().flat_map(|wave| &wave.played).map(|played| played.sent).sum();
    if report.broken.is_empty() {
        say(&format!("{waves} waves, {sent} requests, frames and connections: everything was flat"));
    } else {
        say(&format!(
            "{waves} waves, {sent} requests, frames and connections: {} promise(s) broken",
            report.broken.len()
        ));
    }
    report.broken.is_empty()
}

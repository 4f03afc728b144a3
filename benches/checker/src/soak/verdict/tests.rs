use std::time::Duration;

use super::super::attack::{Ending, KINDS};
use super::super::bystander::Noticed;
use super::super::watch::{Process, Sample};
use super::*;

const POST: Duration = Duration::from_millis(2);

fn sample(heap: u64) -> Sample {
    let metrics = [("tasks", 14.0), ("sockets", 2.0), ("rooms_listened", 1.0), ("task_panics_total", 0.0)];
    Sample {
        at: Duration::ZERO,
        process: Process { rss: 50_000 + heap, highest: 60_000, threads: 4, descriptors: 20 },
        heap,
        metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

fn noticed(longest: Duration) -> Noticed {
    Noticed { posts: [[POST; 200].as_slice(), &[longest]].concat(), ..Noticed::default() }
}

/// Four waves of attackers who were stopped, as they were to be, and cost nothing that lasts.
fn quiet() -> Report {
    let kind = KINDS.iter().find(|kind| kind.ending == Ending::Refused).unwrap();
    let waves = (1..=4).map(|number| Wave {
        group: "group".into(),
        number,
        attacked: Duration::from_secs(1),
        played: vec![Played { kind, sent: 100, refused: 3 }],
        stored: 0,
        peak_allowed: 8 * 1024,
        late_allowed: 0,
        before: sample(1000),
        during: vec![sample(5000); 20],
        after: sample(1100),
        settled: Some(Duration::ZERO),
        noticed: noticed(POST),
        afterwards: noticed(POST),
    });
    Report { quiet: Level::of(&sample(1000)), undisturbed: noticed(POST), waves: waves.collect(), broken: Vec::new() }
}

/// Breaks something in the last wave, which has to be found, and nothing else with it.
#[track_caller]
fn is_found(what: &str, spoil: impl FnOnce(&mut Report)) {
    let mut report = quiet();
    spoil(&mut report);
    let broken = broken(&report);
    assert!(broken.len() == 1 && broken[0].contains(what), "{what}: {broken:?}");
}

fn last(report: &mut Report) -> &mut Wave {
    report.waves.last_mut().unwrap()
}

#[test]
fn what_is_flat_is_not_accused() {
    assert_eq!(broken(&quiet()), Vec::<String>::new());
    assert!(is_calm(&quiet().waves[3], &quiet().quiet, &[]));
}

#[test]
fn memory_at_the_height_is_found() {
    is_found("at the height", |report| {
        // Freed again in time, so that it is neither creep nor kept; and within what was resident already.
        last(report).during[3].heap = 10_000;
    });
}

#[test]
fn memory_that_creeps_while_nobody_reads_is_found() {
    is_found("second half", |report| {
        for (index, sample) in last(report).during.iter_mut().enumerate() {
            sample.heap = 1000 + 380 * index as u64;
        }
    });
}

#[test]
fn memory_that_is_kept_is_found() {
    is_found("compared with the wave before", |report| last(report).after.heap += 1500);
    // What was stored is not held against it.
    let mut report = quiet();
    (last(&mut report).stored, last(&mut report).after.heap) = (1000, 2600);
    assert_eq!(broken(&report), Vec::<String>::new());
}

#[test]
fn memory_that_rises_a_little_with_every_wave_is_found() {
    is_found("rises with every wave", |report| {
        for (index, wave) in report.waves.iter_mut().enumerate() {
            wave.after.heap += 900 * index as u64;
        }
    });
}

#[test]
fn what_is_not_given_back_is_found() {
    is_found("500 descriptors", |report| last(report).after.process.descriptors = 500);
    is_found("rooms with a listener", |report| {
        last(report).after.metrics.insert("rooms_listened".into(), 2.0);
    });
    is_found("tasks", |report| {
        last(report).after.metrics.insert("tasks".into(), 100.0);
    });
    is_found("map a: 200000 entries", |report| {
        last(report).after.metrics.insert("map_entries{map=\"a\"}".into(), 200_000.0);
    });
}

#[test]
fn panics_are_found() {
    is_found("1 panics", |report| {
        last(report).after.metrics.insert("task_panics_total".into(), 1.0);
    });
}

#[test]
fn attackers_who_do_nothing_or_are_let_alone_are_found() {
    is_found("has sent nothing", |report| last(report).played[0].sent = 0);
    is_found("was never stopped", |report| last(report).played[0].refused = 0);
}

#[test]
fn bystanders_who_wait_are_found() {
    is_found("nothing heard for", |report| last(report).noticed = noticed(Duration::from_secs(6)));
    is_found("(p99)", |report| last(report).noticed.posts = vec![Duration::from_millis(4900); 10]);
    is_found("lost", |report| last(report).afterwards.troubles.push("lost".into()));
}

//! The proof that the checker can fail: servers with a deliberate defect are found out, each by the rule that it breaks; and servers without
//! one are not accused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::time::Duration;

use chatcore::defect::Defect;
use chatcore_checker::place::Store;
use chatcore_checker::run::{Plan, Report, run, tell};

fn plan(defect: Option<Defect>) -> Plan {
    Plan {
        program: PathBuf::from(env!("CARGO_BIN_EXE_checker")),
        servers: Vec::new(),
        store: Store::Sqlite,
        nodes: 1,
        users: 8,
        groups: 3,
        time: Duration::from_secs(10),
        seed: 7,
        faults: true,
        defect: defect.map(Defect::name),
    }
}

async fn play(plan: &Plan) -> Report {
    let report = run(plan).await.unwrap();
    tell(plan, &report);
    report
}

/// A defect is found by one of the rules that it breaks.
async fn is_caught(defect: Defect, rules: &[&str]) {
    let report = play(&plan(Some(defect))).await;
    let found: Vec<&str> = report.violations.iter().map(|violation| violation.rule).collect();
    assert!(found.iter().any(|rule| rules.contains(rule)), "{defect:?} breaks {rules:?}; found: {found:?}");
    for violation in &report.violations {
        // The history that is shown is a few lines, however long the run was.
        assert!(violation.show(&report.record).to_string().lines().count() < 30);
    }
}

macro_rules! defects {
    ($($test:ident: $defect:ident by $($rule:literal)|+;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            is_caught(Defect::$defect, &[$($rule),+]).await;
        })*

        #[test]
        fn every_defect_has_its_test() {
            let tested = [$(Defect::$defect),*];
            assert!(Defect::ALL.iter().all(|defect| tested.contains(defect)));
        }
    };
}

defects! {
    publishing_before_the_commit_is_caught: PublishBeforeCommit by "sockets and store agree";
    acknowledging_before_the_commit_is_caught: AckBeforeCommit by "acknowledged is durable";
    resuming_off_by_one_is_caught: ResumeOffByOne by "no hole";
    forgetting_keys_is_caught: DedupForgotten by "retry is safe";
    late_eviction_is_caught: EvictionLate by "out is out";
    forgetting_a_removal_is_caught: RemovalForgotten by "out is out";
    a_tail_trimmed_under_a_cursor_is_caught: TailTrimmed by "no hole";
    a_session_that_survives_is_caught: SessionSurvives by "out is out";
    overtaking_what_was_sent_first_is_caught: StaleOvertaken by "in the order sent";
    a_login_with_an_old_password_is_caught: LoginUnchecked by "out is out";
    listeners_that_stay_are_caught: RegistrationLeaks by "nothing is left behind";
    a_deletion_that_leaves_the_tail_as_it_is_is_caught: TailKeepsDeleted by "deleted is gone";
    a_lost_marker_is_caught: MarkerLost by "markers stay" | "unread counts";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_accused_who_keeps_every_promise() {
    let report = play(&plan(None)).await;
    assert!(report.violations.is_empty());
    // Enough happened for that to mean something.
    let stored: usize = report.record.logs.iter().map(Vec::len).sum();
    assert!(stored > 200, "{}", report.figures);
}

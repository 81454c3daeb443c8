//! Histories that have an explanation, and histories that have none.

use super::*;

const RUNNING: DesiredState = DesiredState::Running;

fn is(generation: u64, spec: u64, version: i64) -> Answer {
    Answer::Is(Record {
        created_at: Some(Timestamp::from_millis(7)),
        generation,
        content: Content {
            spec,
            desired: RUNNING,
        },
        version,
    })
}

fn deleted(generation: u64, spec: u64, version: i64) -> Answer {
    let Answer::Is(mut record) = is(generation, spec, version) else {
        unreachable!("it is a record")
    };
    record.content.desired = DesiredState::Deleted;
    Answer::Is(record)
}

fn apply(spec: u64) -> Asked {
    apply_if(spec, None)
}

fn apply_if(spec: u64, if_match: Option<i64>) -> Asked {
    Asked::Apply {
        spec: Some(spec),
        desired: None,
        if_match,
    }
}

const DELETE: Asked = Asked::Delete { if_match: None };

fn call(from: u64, until: u64, asked: Asked, answer: Answer) -> Call {
    Call {
        asked,
        answer,
        from,
        until: Some(until),
        asked_at: Timestamp::ZERO,
    }
}

fn lost(from: u64, asked: Asked) -> Call {
    Call {
        until: None,
        ..call(from, 0, asked, Answer::Unknown)
    }
}

fn nothing_yet() -> BTreeSet<End> {
    BTreeSet::from([End {
        state: State::Absent,
        open: Vec::new(),
    }])
}

fn holds(calls: &[Call]) -> bool {
    match explain(&nothing_yet(), calls) {
        Found::Ends(_) => true,
        Found::Nothing => false,
        Found::TooMany => panic!("gave up"),
    }
}

#[test]
fn one_after_another() {
    let created = call(1, 2, apply(5), is(1, 5, 10));
    let changed = call(3, 4, apply(6), is(2, 6, 12));
    assert!(holds(&[
        created,
        changed,
        call(5, 6, Asked::Read, is(2, 6, 13))
    ]));
    assert!(
        !holds(&[created, changed, call(5, 6, Asked::Read, is(1, 5, 10))]),
        "an old read"
    );
    assert!(!holds(&[
        created,
        changed,
        call(5, 6, Asked::Read, Answer::Missing)
    ]));
    assert!(
        !holds(&[created, call(3, 4, apply(6), is(3, 6, 12))]),
        "a generation was left out"
    );
    assert!(
        !holds(&[created, call(3, 4, apply(6), is(2, 6, 10))]),
        "the version did not grow"
    );
    assert!(
        !holds(&[created, call(3, 4, apply(6), is(2, 7, 12))]),
        "that was not asked for"
    );
}

#[test]
fn what_overlaps_may_have_either_order() {
    let created = call(1, 2, apply(5), is(1, 5, 10));
    let one = call(3, 6, apply(6), is(3, 6, 14));
    let other = call(4, 5, apply(7), is(2, 7, 12));
    assert!(holds(&[created, one, other]));
    assert!(holds(&[
        created,
        one,
        other,
        call(7, 8, Asked::Read, is(3, 6, 14))
    ]));
    assert!(!holds(&[
        created,
        one,
        other,
        call(7, 8, Asked::Read, is(2, 7, 12))
    ]));
    // A read during a write sees it or not; two reads in a row do not go back.
    let during = call(3, 9, apply(6), is(2, 6, 12));
    let reads = |first, second| {
        let (first, second) = (
            call(4, 5, Asked::Read, first),
            call(6, 7, Asked::Read, second),
        );
        holds(&[created, during, first, second])
    };
    assert!(reads(is(1, 5, 10), is(2, 6, 12)));
    assert!(!reads(is(2, 6, 12), is(1, 5, 11)));
}

#[test]
fn of_two_who_compare_the_same_version_one_wins() {
    let created = call(1, 2, apply(5), is(1, 5, 10));
    let wins = call(3, 6, apply_if(6, Some(10)), is(2, 6, 12));
    let stale = call(4, 5, apply_if(7, Some(10)), Answer::Stale { current: 12 });
    assert!(holds(&[created, wins, stale]));
    let both = call(4, 5, apply_if(7, Some(10)), is(3, 7, 14));
    assert!(!holds(&[created, wins, both]));
    let wrong = call(4, 5, apply_if(7, Some(10)), Answer::Stale { current: 10 });
    assert!(!holds(&[created, wins, wrong]));
}

#[test]
fn a_call_without_an_answer_took_effect_later_or_never() {
    let created = call(1, 2, apply(5), is(1, 5, 10));
    let gone = lost(3, apply(6));
    let read = |at, answer| call(at, at + 1, Asked::Read, answer);
    assert!(holds(&[
        created,
        gone,
        read(4, is(1, 5, 10)),
        read(6, is(2, 6, 12))
    ]));
    assert!(holds(&[
        created,
        gone,
        read(4, is(1, 5, 10)),
        read(6, is(1, 5, 10))
    ]));
    assert!(!holds(&[
        created,
        gone,
        read(4, is(2, 6, 12)),
        read(6, is(1, 5, 13))
    ]));
    assert!(
        !holds(&[created, gone, read(4, is(3, 6, 12))]),
        "it took effect twice"
    );
    assert!(holds(&[created, gone, gone, read(4, is(3, 6, 12))]));
    // It may also take effect after the calls that were ordered before.
    let Found::Ends(ends) = explain(&nothing_yet(), &[created, gone]) else {
        panic!("it has an explanation")
    };
    let late = [read(8, is(1, 5, 11)), read(10, is(2, 6, 12))];
    assert!(matches!(explain(&ends, &late), Found::Ends(_)));
}

#[test]
fn what_is_deleted_goes_by_itself_and_nothing_else_does() {
    let created = call(1, 2, apply(5), is(1, 5, 10));
    let delete = call(3, 4, DELETE, deleted(2, 5, 12));
    let missing = call(5, 6, Asked::Read, Answer::Missing);
    assert!(holds(&[created, delete, missing]));
    assert!(!holds(&[created, missing]));
    assert!(!holds(&[
        created,
        delete,
        missing,
        call(7, 8, Asked::Read, deleted(2, 5, 12))
    ]));
    // Applied while it was being deleted, or after it was gone.
    let kept = call(5, 6, apply(5), is(3, 5, 14));
    let anew = call(5, 6, apply(5), is(1, 5, 20));
    assert!(holds(&[created, delete, kept]));
    assert!(holds(&[created, delete, anew]));
    assert!(!holds(&[
        created,
        delete,
        call(5, 6, apply(5), is(2, 5, 14))
    ]));
}

#[test]
fn what_nobody_knows_is_learnt_from_the_first_answer() {
    let starts = BTreeSet::from([End {
        state: State::Anything,
        open: Vec::new(),
    }]);
    let first = call(1, 2, Asked::Read, is(4, 5, 40));
    assert!(matches!(explain(&starts, &[first]), Found::Ends(_)));
    let second = call(3, 4, Asked::Read, is(3, 5, 41));
    assert_eq!(explain(&starts, &[first, second]), Found::Nothing);
}

#[test]
fn a_call_that_is_too_old_took_effect_or_never_does() {
    let nobody_told = [lost(1, apply(5))];
    let Found::Ends(ends) = explain(&nothing_yet(), &nobody_told) else {
        panic!("it has an explanation")
    };
    let old = expire(ends.clone(), |_| false).expect("there are few");
    assert!(old.iter().all(|end| end.open.is_empty()));
    let holds = |answer| {
        let read = call(8, 9, Asked::Read, answer);
        matches!(explain(&old, &[read]), Found::Ends(_))
    };
    assert!(holds(Answer::Missing));
    assert!(holds(is(1, 5, 10)));
    assert!(!holds(is(1, 6, 10)), "nobody asked for that");
    // As long as it is young, it may still take effect.
    assert_eq!(expire(ends.clone(), |_| true), Some(ends));
}

//! Arrays that many change. A change under the locks of three stripes: whoever comes next finds each stripe
//! as it was, or changed, or is told to look at it. A record that is written number by number: each
//! number is old or new, and the new ones come first.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crash_check::step::{Region, Scenario};
use shm_core::ShmSafe;
use shm_core::data::{AtomicRecords, LockedArray, LockedGuard, LockedRange, Payload};
use shm_core::lock::{LockError, LockResult};

use crate::ground::{Kit, SIZE, has_returned, kit, make_kit, returned, run};

/// Behind the heap's words, in memory of zeroes.
const AT: usize = SIZE - 1024;

type Numbers = LockedArray<u32, 3>;
type Locked<'a> = LockResult<LockedGuard<'a, u32, Kit>>;

/// Six numbers, two a stripe: that of each is 0, before anybody has changed it.
fn numbers(region: &Region) -> &Numbers {
    let start = region.u64_at(AT).as_ptr().cast::<u8>();
    // SAFETY: within the region, aligned; zeroes are unlocked stripes, and numbers.
    unsafe { &*Numbers::of(start, 6) }
}

fn held(locked: Locked<'_>) -> LockedGuard<'_, u32, Kit> {
    match locked {
        Ok(guard) => guard,
        Err(LockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(error) => panic!("{error:?}"),
    }
}

fn change(mut numbers: LockedGuard<'_, u32, Kit>) {
    numbers.iter_mut().for_each(|number| *number = 7);
}

/// Nobody who is dead keeps a stripe.
fn can_be_locked(region: &Region) -> Result<(), String> {
    let kit = kit(region);
    match numbers(region).try_lock(&kit) {
        Ok(_) | Err(LockError::Poisoned(_)) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn goes_on(region: &Region) -> Result<(), Box<dyn std::error::Error>> {
    let kit = kit(region);
    for (index, stripe) in numbers(region).stripes().enumerate() {
        let (found, suspect) = match stripe.try_lock(&kit) {
            Ok(guard) => (guard.to_vec(), false),
            Err(LockError::Poisoned(poisoned)) => (poisoned.into_inner().to_vec(), true),
            Err(error) => return Err(format!("{index}: {error:?}").into()),
        };
        let after = [vec![0, 7], vec![7, 7], vec![7, 0]];
        let is_whole = found == after[index] || found == [0, 0] && !has_returned(region);
        if !is_whole && (!suspect || has_returned(region)) {
            return Err(format!("{index}: {found:?} is neither before nor after").into());
        }
        stripe.clear_poison();
        if stripe.lock(&kit).is_err() {
            return Err(format!("{index} is still suspect").into());
        }
    }
    Ok(())
}

fn row(
    name: &'static str,
    lock: impl for<'a> Fn(LockedRange<'a, u32>, &'a Kit) -> Locked<'a> + 'static,
) {
    let scenario = Scenario::new(name)
        .state("three stripes, two in part")
        .init(make_kit)
        .operation_with(kit, move |r, kit| {
            change(held(lock(numbers(r).range(1..5).unwrap(), kit)));
            returned(r);
        })
        .recovery_with(kit, |_, _| {})
        .validate(can_be_locked)
        .continuation(goes_on);
    run(scenario);
}

#[test]
fn kill_locked_array() {
    row("shm_core::data::LockedRange::lock", |range, kit| range.lock(kit));
    row("shm_core::data::LockedRange::try_lock", |range, kit| range.try_lock(kit));
    row("shm_core::data::LockedRange::lock_timeout", |range, kit| {
        range.lock_timeout(kit, Duration::from_secs(5))
    });
}

/// The one before panicked with all stripes; who mends them is killed.
#[test]
fn kill_clear_poison() {
    let left = |region: &Region| {
        make_kit(region);
        let panics = || {
            let kit = kit(region);
            let _held = held(numbers(region).range(1..5).unwrap().lock(&kit));
            resume_unwind(Box::new(()));
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    };
    let scenario = Scenario::new("shm_core::data::LockedRange::clear_poison")
        .state("all stripes suspect")
        .init(left)
        .operation_with(kit, |r, kit| {
            let range = numbers(r).range(1..5).unwrap();
            let mut numbers = held(range.lock(kit));
            numbers.iter_mut().for_each(|number| *number = 7);
            range.clear_poison();
            drop(numbers);
            returned(r);
        })
        .recovery_with(kit, |_, _| {})
        .validate(can_be_locked)
        .continuation(goes_on);
    run(scenario);
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Row {
    first: u64,
    second: [u32; 2],
    third: u16,
    fourth: [u8; 6],
}

const OLD: Row = Row { first: 1, second: [2, 3], third: 4, fourth: [5; 6] };
const NEW: Row = Row { first: !1, second: [!2, !3], third: !4, fourth: [!5; 6] };

fn rows(region: &Region) -> &AtomicRecords<Row> {
    let start = region.u64_at(AT).as_ptr().cast::<u8>();
    // SAFETY: within the region, aligned, and any bytes are records.
    unsafe { &*AtomicRecords::of(start, 3) }
}

#[test]
fn kill_store() {
    let scenario = Scenario::new("shm_core::data::AtomicRecords::store")
        .state("the second of three")
        .init(|r| (0..3).for_each(|index| assert!(rows(r).store(index, &OLD))))
        .operation(|r| {
            assert!(rows(r).store(1, &NEW));
            returned(r);
        })
        .recovery(|_| {})
        .validate(|r| {
            let [before, found, behind] = [0, 1, 2].map(|index| rows(r).load(index).unwrap());
            let mut steps = vec![OLD; 11];
            let mut set = |from: usize, change: &dyn Fn(&mut Row)| {
                steps[from..].iter_mut().for_each(change);
            };
            set(1, &|row| row.first = NEW.first);
            set(2, &|row| row.second[0] = NEW.second[0]);
            set(3, &|row| row.second[1] = NEW.second[1]);
            set(4, &|row| row.third = NEW.third);
            (0..6).for_each(|byte| set(5 + byte, &|row| row.fourth[byte] = NEW.fourth[byte]));
            if (before, behind) != (OLD, OLD) || !steps.contains(&found) {
                return Err(format!("{found:?}"));
            }
            match has_returned(r) && found != NEW {
                true => Err("it has not been written".to_owned()),
                false => Ok(()),
            }
        })
        .continuation(|r| match rows(r).store(1, &OLD) && rows(r).load(1) == Some(OLD) {
            true => Ok(()),
            false => Err("it cannot be written".to_owned()),
        });
    run(scenario);
}

//! The list behind its lock: whoever gets the lock from a dead holder repairs it, and finds it as it
//! was before the change or after it.

use crash_check::step::{Region, Scenario};
use shm_core::data::List;
use shm_core::lock::{LockError, Mutex, MutexGuard};

use crate::ground::{Kit, SIZE, has_returned, kit, make_kit, returned, run};

const MOST: usize = 4;
type Numbers = List<u64, MOST>;

/// Behind the heap's words.
const AT: usize = SIZE - 1024;

fn list(region: &Region) -> &Mutex<Numbers> {
    let place = region.u64_at(AT).as_ptr().cast::<Mutex<Numbers>>();
    // SAFETY: within the region, aligned; zeroes are an unlocked mutex, and `init` has put a list in.
    unsafe { &*place }
}

fn lock<'a>(region: &'a Region, kit: &'a Kit) -> MutexGuard<'a, Numbers, Kit> {
    match list(region).lock(kit) {
        Ok(guard) => guard,
        Err(LockError::Poisoned(poisoned)) => {
            let mut guard = poisoned.into_inner();
            guard.repair();
            list(region).clear_poison();
            guard
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn init(region: &Region) {
    make_kit(region);
    let place = region.u64_at(AT).as_ptr().cast::<Mutex<Numbers>>();
    // SAFETY: within the region, aligned, and nobody else has it yet.
    unsafe { place.write(Mutex::new(List::new())) };
    let kit = kit(region);
    let mut list = lock(region, &kit);
    // One place between free ones, so that links lead across.
    [9, 1, 2].into_iter().for_each(|value| list.push_back(value).unwrap());
    list.remove(0);
}

fn row(
    name: &'static str,
    state: &'static str,
    change: impl Fn(&mut Numbers) + 'static,
    after: &'static [u64],
) {
    let scenario = Scenario::new(name)
        .state(state)
        .init(init)
        .operation_with(kit, move |r, kit| {
            change(&mut lock(r, kit));
            returned(r);
        })
        .recovery_with(kit, |r, kit| drop(lock(r, kit)))
        .validate(|r| lock(r, &kit(r)).validate())
        .continuation(move |r| {
            let kit = kit(r);
            let mut list = lock(r, &kit);
            let found: Vec<u64> = list.iter().collect();
            if found != after && (has_returned(r) || found != [1, 2]) {
                return Err(format!("{found:?} is neither before nor after"));
            }
            (found.len()..MOST).for_each(|_| list.push_front(5).unwrap());
            if list.push_back(5).is_ok() {
                Err("there is too much room".to_owned())
            } else {
                Ok(())
            }
        });
    run(scenario);
}

#[test]
fn kill_list() {
    row("shm_core::data::List::push_back", "two in it", |l| l.push_back(3).unwrap(), &[1, 2, 3]);
    row("shm_core::data::List::push_front", "two in it", |l| l.push_front(3).unwrap(), &[3, 1, 2]);
    row("shm_core::data::List::insert", "two in it", |l| l.insert(1, 3).unwrap(), &[1, 3, 2]);
    row("shm_core::data::List::pop_back", "two in it", |l| drop(l.pop_back()), &[1]);
    row("shm_core::data::List::pop_front", "two in it", |l| drop(l.pop_front()), &[2]);
    row("shm_core::data::List::remove", "two in it", |l| drop(l.remove(1)), &[1]);
    row("shm_core::data::List::clear", "two in it", List::clear, &[]);
    row("shm_core::data::List::repair", "two in it", |l| drop(l.repair()), &[1, 2]);
}

#[path = "../models/mod.rs"]
#[allow(dead_code)]
mod models;
use crash_check::explore::*;
use models::participants::*;
fn main() {
    use Broken::*;
    let want: Vec<String> = std::env::args().skip(1).collect();
    let all = [
        ArmBeforeLock,
        ArmBeforeRoster,
        NoRosterWake,
        RosterWakeByRaiserOnly,
        UnlockBeforeWord,
        NoRingBeforeDetach,
        NoGenerationAtDetach,
        NeverRearmed,
        AnyThreadWatchesPeers,
        NoPrivateWake,
        OwnWordWatched,
        NoTimeout,
        NoScanAfterWaking,
        StampIsProof,
        OwnerNotRung,
        ClaimantJudgedByWord,
        ClaimWithoutGeneration,
        GenerationBeforeByte,
        NoSecondProof,
        ClaimLeftStanding,
        NoSecondLook,
        FreeBeforeSweep,
        GenerationAfterRing,
        NobodyRung,
        OnlyArmedRung,
        NotRingingItself,
    ];
    let c = Config::new;
    let configs: Vec<(&str, Config)> = vec![
        ("2a i2 d2", c(2, 0, 2).deaths(2, 0)),
        ("2a i2 d1 k1", c(2, 0, 2).deaths(1, 1)),
        ("2a 1n i2 d1", c(2, 1, 2).deaths(1, 0)),
        ("2a i2 d1 k1 D", c(2, 0, 2).deaths(1, 1).detaching()),
        ("2a 1n i2 d2", c(2, 1, 2).deaths(2, 0)),
        ("2a 1n i2 d1 k1", c(2, 1, 2).deaths(1, 1)),
        ("2a 1n i3 d1", c(2, 1, 3).deaths(1, 0)),
        ("3a i3 d1", c(3, 0, 3).deaths(1, 0)),
        ("2a 1n i2 d2 k1", c(2, 1, 2).deaths(2, 1)),
        ("1a 2n i2 d1 k1", c(1, 2, 2).deaths(1, 1)),
        ("3a i3 d1 k1", c(3, 0, 3).deaths(1, 1)),
        ("3a i3 d2", c(3, 0, 3).deaths(2, 0)),
        ("1a 2n i3 d2", c(1, 2, 3).deaths(2, 0)),
        ("2a 1n i3 d2", c(2, 1, 3).deaths(2, 0)),
        ("3a i3 d1 k1 D", c(3, 0, 3).deaths(1, 1).detaching()),
        ("3a i3 d1 D", c(3, 0, 3).deaths(1, 0).detaching()),
    ];
    for b in all {
        if !want.is_empty() && !want.contains(&format!("{b:?}")) {
            continue;
        }
        let mut found = false;
        for (name, config) in &configs {
            let r = Explorer::new()
                .budget(3_000_000)
                .run(&Participants { config: *config, broken: vec![b] });
            if let Some(f) = r.counterexample() {
                println!(
                    "{b:?}: {name}: {} states {} steps {} {:.2?}",
                    r.states,
                    f.trace.len(),
                    f.flaw,
                    r.elapsed
                );
                found = true;
                if !want.is_empty() {
                    println!("{f}");
                }
                break;
            }
        }
        if !found {
            println!("{b:?}: NOT CAUGHT");
        }
    }
}

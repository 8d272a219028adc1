//! What is explored, and what must come out.

use super::super::case::{Case, Effort, Expect};
use super::{Broken, Config, Form, Heap, Order};

const PROTOCOL: &str = "heap";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    let mut cases = correct();
    cases.extend(broken());
    cases.extend(by_entry());
    cases.extend(broken_by_entry());
    cases
}

fn name(config: &Config) -> String {
    let [a, b, c] = config.ops;
    let mut name = format!(
        "{}p {}b {}c d{} ops {a}+{b}+{c}",
        config.processes, config.blocks, config.cells, config.deaths
    );
    let variations = [
        (config.classes, ", classes"),
        (config.put_off && !config.classes, ", drain put off"),
        (config.plan, ", cell planned first"),
        (config.form == Form::ReservedBitmap, ", RESERVED bitmap"),
        (config.form == Form::Entry, ", by entry"),
        (config.order == Order::Bac, ", B-A-C"),
        (config.order == Order::Acb, ", A-C-B"),
    ];
    variations.iter().filter(|(given, _)| *given).for_each(|(_, text)| name.push_str(text));
    name
}

fn correct() -> Vec<Case> {
    let holds = |config: Config, effort| {
        Case::new(PROTOCOL, name(&config), Heap { config, broken: None }).effort(effort)
    };
    let c = Config::new;
    let classes = c(3, 1, 2, [3, 3, 1], 2).classes();
    vec![
        holds(c(2, 1, 2, [2, 3, 0], 1), Effort::Small),
        holds(c(3, 1, 1, [2, 2, 1], 2), Effort::Short),
        holds(c(3, 1, 1, [2, 2, 1], 2).put_off(), Effort::Short),
        holds(c(2, 1, 2, [2, 3, 0], 1).form(Form::ReservedBitmap), Effort::Short),
        holds(c(3, 1, 1, [2, 2, 1], 2).form(Form::ReservedBitmap), Effort::Short),
        holds(c(3, 2, 1, [2, 2, 1], 2), Effort::Long),
        holds(c(3, 2, 1, [2, 2, 1], 2).put_off(), Effort::Long),
        holds(c(3, 1, 1, [3, 3, 1], 2), Effort::Long),
        holds(c(3, 1, 2, [2, 4, 1], 1).plan(), Effort::Long),
        holds(classes, Effort::Long),
        holds(c(3, 1, 2, [3, 2, 1], 2).classes(), Effort::Long),
        holds(classes.order(Order::Bac), Effort::Long),
        holds(classes.order(Order::Acb), Effort::Long),
        holds(c(3, 2, 1, [2, 2, 2], 2).order(Order::Bac), Effort::Long),
    ]
}

fn broken() -> Vec<Case> {
    use Broken::*;
    let c = Config::new;
    let fails = |config: Config, rule| {
        Case::new(PROTOCOL, name(&config), Heap { config, broken: Some(rule) })
            .without(rule)
            .because(rule.leads_to())
    };
    let large = |config, rule| fails(config, rule).effort(Effort::Short);
    let small = c(3, 1, 1, [2, 2, 1], 2);
    let cells = c(3, 1, 2, [3, 3, 1], 2);
    vec![
        fails(small, DrainBySwap),
        fails(small.put_off(), AdopterDoesNotDrain),
        fails(cells, SpanOfDeadClaimed),
        fails(small, AllocatedBeforeReserved),
        fails(small, HomeAfterAllocated),
        fails(small, DropClearsReservedFirst),
        fails(cells, SourceEmptyBeforeHome),
        fails(cells, EmptyBeforeFree),
        large(c(3, 1, 2, [2, 4, 1], 1).plan(), StampByCell),
        fails(small, ReservedMeansUnpublished),
        fails(cells, FreeingIsNoCas),
        fails(small, FreeWithoutCheck),
        large(cells, HomeReadFirst),
        large(cells.classes(), EpochReadFirst),
        large(cells.classes(), NoEpoch),
        large(c(3, 1, 1, [3, 2, 2], 2).form(Form::ReservedBitmap), NoLease),
        fails(small.form(Form::ReservedBitmap), RemovedBeforeCleared),
        fails(cells, OpenBeforeSourceEmpty).expect(Expect::NotCaught).effort(Effort::Long),
        fails(cells, IncomingFinishedFirst).expect(Expect::NotCaught).effort(Effort::Long),
    ]
}

fn by_entry() -> Vec<Case> {
    let holds = |config: Config, effort| {
        let config = config.form(Form::Entry);
        Case::new(PROTOCOL, name(&config), Heap { config, broken: None }).effort(effort)
    };
    let c = Config::new;
    let classes = c(3, 1, 2, [3, 3, 1], 2).classes();
    vec![
        holds(c(2, 1, 2, [2, 3, 0], 1), Effort::Small),
        holds(c(3, 1, 1, [2, 2, 1], 2), Effort::Short),
        holds(c(3, 1, 1, [2, 2, 1], 2).put_off(), Effort::Short),
        holds(c(3, 2, 1, [2, 2, 1], 2), Effort::Short),
        holds(c(3, 2, 1, [2, 2, 1], 2).put_off(), Effort::Short),
        holds(c(3, 1, 1, [3, 3, 1], 2), Effort::Long),
        holds(c(3, 1, 2, [2, 4, 1], 1), Effort::Long),
        holds(classes, Effort::Long),
        holds(c(3, 1, 2, [3, 2, 1], 2).classes(), Effort::Long),
        holds(classes.order(Order::Bac), Effort::Long),
        holds(c(3, 2, 1, [2, 2, 2], 2).order(Order::Bac), Effort::Long),
    ]
}

fn broken_by_entry() -> Vec<Case> {
    use Broken::*;
    let c = Config::new;
    let fails = |config: Config, rule: Broken| {
        let config = config.form(Form::Entry);
        Case::new(PROTOCOL, name(&config), Heap { config, broken: Some(rule) })
            .without(rule)
            .because(rule.leads_to_by_entry())
            .effort(Effort::Short)
    };
    let small = c(3, 1, 1, [2, 2, 1], 2);
    let cells = c(3, 1, 2, [3, 3, 1], 2);
    vec![
        fails(small, DrainBySwap),
        fails(small.put_off(), AdopterDoesNotDrain),
        fails(cells, SpanOfDeadClaimed),
        fails(small, AllocatedBeforeReserved),
        fails(small, HomeAfterAllocated),
        fails(cells, SourceEmptyBeforeHome),
        fails(cells, EmptyBeforeFree),
        fails(small, FreeWithoutCheck),
        fails(cells, HomeReadFirst),
        fails(cells.classes(), EpochReadFirst),
        fails(cells.classes(), NoEpoch),
        fails(cells, OpenBeforeSourceEmpty).expect(Expect::NotCaught).effort(Effort::Long),
    ]
}

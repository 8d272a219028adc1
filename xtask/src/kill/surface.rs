//! The public operations of a crate: every function that a user can name, by the path he uses.

use std::collections::{BTreeMap, BTreeSet};

use super::module::{Definition, Function, Module, Modules, Place, Use};

/// One public function or method.
#[derive(Clone, Debug)]
pub struct Operation {
    /// As a user writes it: `ipc_queue::spsc::Producer::send`.
    pub path: String,
    /// Where it stands.
    pub function: Function,
}

/// What a crate shows.
#[derive(Debug, Default)]
pub struct Surface {
    /// The functions and methods, by path.
    pub operations: Vec<Operation>,
    /// The types, by path.
    pub types: BTreeSet<String>,
}

/// Where something is defined: module and name.
type Origin = (Place, String);

impl Surface {
    /// Collects what can be named from outside of `crate_name`.
    pub fn of(crate_name: &str, modules: &Modules) -> Self {
        let mut exports = Exports { modules, shortest: BTreeMap::new() };
        exports.enter(&Vec::new(), &[crate_name.to_string()]);
        let shown = exports.shortest;
        let mut surface = Self::default();
        for (origin, path) in &shown {
            let definition = modules.all.get(&origin.0).and_then(|m| m.names.get(&origin.1));
            let Some(definition) = definition else { continue };
            let itself = |function: &Function| match function.name == origin.1 {
                true => path.clone(),
                false => format!("{path}::{}", function.name),
            };
            surface.extend(definition.functions.iter().map(|f| (itself(f), f)));
            surface.types.insert(path.clone());
        }
        for (place, module) in &modules.all {
            for (name, functions) in &module.impls {
                let origin = follow(modules, place, name, 8);
                let Some(path) = origin.and_then(|origin| shown.get(&origin)) else { continue };
                surface.extend(functions.iter().map(|f| (format!("{path}::{}", f.name), f)));
            }
        }
        surface.operations.sort_by(|a, b| a.path.cmp(&b.path));
        surface
    }

    fn extend<'a>(&mut self, found: impl Iterator<Item = (String, &'a Function)>) {
        let operation =
            |(path, function): (String, &Function)| Operation { path, function: function.clone() };
        self.operations.extend(found.map(operation));
    }
}

/// The shortest path to each definition.
struct Exports<'a> {
    modules: &'a Modules,
    shortest: BTreeMap<Origin, String>,
}

impl Exports<'_> {
    /// Notes what is public in the module at `place`, which is reached as `path`.
    fn enter(&mut self, place: &Place, path: &[String]) {
        // Deeper than any crate: a module that re-exports its parent ends here.
        if path.len() > 8 {
            return;
        }
        let Some(module) = self.modules.all.get(place) else { return };
        for (name, definition) in module.names.iter().filter(|(_, found)| found.is_public) {
            self.show(&(place.clone(), name.clone()), definition, path, name);
        }
        for line in module.uses.iter().filter(|line| line.is_public) {
            for (origin, name) in brought(self.modules, place, line) {
                let definition =
                    self.modules.all.get(&origin.0).and_then(|m| m.names.get(&origin.1));
                if let Some(definition) = definition {
                    self.show(&origin, definition, path, &name);
                }
            }
        }
    }

    fn show(&mut self, origin: &Origin, definition: &Definition, path: &[String], name: &str) {
        let mut path = path.to_vec();
        path.push(name.to_string());
        if definition.is_module {
            let mut place = origin.0.clone();
            place.push(origin.1.clone());
            return self.enter(&place, &path);
        }
        let spelled = path.join("::");
        let known = self.shortest.entry(origin.clone()).or_insert_with(|| spelled.clone());
        let length = |path: &str| path.matches("::").count();
        if length(&spelled) < length(known) {
            *known = spelled;
        }
    }
}

/// What one `use` brings, and under which names.
fn brought(modules: &Modules, place: &Place, line: &Use) -> Vec<(Origin, String)> {
    if line.name != "*" {
        let origin = follow(modules, place, &line.from, 8);
        return origin.map(|origin| (origin, line.name.clone())).into_iter().collect();
    }
    let Some(target) = module_at(modules, place, &line.from) else { return Vec::new() };
    let shown = |module: &Module| {
        let all = module.names.iter().filter(|(_, found)| found.is_public);
        all.map(|(name, _)| ((target.clone(), name.clone()), name.clone())).collect()
    };
    modules.all.get(&target).map(shown).unwrap_or_default()
}

/// Who `name` is in the module at `place`.
fn resolve(modules: &Modules, place: &Place, name: &str, steps: usize) -> Option<Origin> {
    let module = modules.all.get(place)?;
    if module.names.contains_key(name) {
        return Some((place.clone(), name.to_string()));
    }
    let steps = steps.checked_sub(1)?;
    let line = module.uses.iter().find(|line| line.name == name);
    if let Some(line) = line {
        return follow(modules, place, &line.from, steps);
    }
    let globs = module.uses.iter().filter(|line| line.name == "*");
    let mut targets = globs.filter_map(|line| module_at(modules, place, &line.from));
    targets.find_map(|target| resolve(modules, &target, name, steps))
}

/// Who stands at the end of a path that is written in the module at `place`.
fn follow(modules: &Modules, place: &Place, path: &[String], steps: usize) -> Option<Origin> {
    let (name, before) = path.split_last()?;
    resolve(modules, &module_at(modules, place, before)?, name, steps)
}

/// The module that a path names, seen from the module at `place`.
fn module_at(modules: &Modules, place: &Place, path: &[String]) -> Option<Place> {
    let mut at = place.clone();
    for (index, word) in path.iter().enumerate() {
        match word.as_str() {
            "crate" => at.clear(),
            "self" if index == 0 => {}
            "super" => at.truncate(at.len().checked_sub(1)?),
            name => at.push(name.to_string()),
        }
    }
    modules.all.contains_key(&at).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let surface = Surface::of("c", &Modules::of(text));
        surface.operations.into_iter().map(|operation| operation.path).collect()
    }

    #[test]
    fn a_method_is_named_by_the_path_that_its_user_writes() {
        let text = "
            mod ring { pub struct Producer; impl Producer { pub fn send(&self) {} fn slot() {} } }
            pub mod spsc { pub use crate::ring::Producer; pub fn create() {} }";
        assert_eq!(paths(text), ["c::spsc::Producer::send", "c::spsc::create"]);
    }

    #[test]
    fn the_shortest_of_several_paths_is_the_name() {
        let text = "pub mod a { pub struct X; impl X { pub fn go(&self) {} } } pub use a::X;";
        assert_eq!(paths(text), ["c::X::go"]);
    }

    #[test]
    fn what_cannot_be_named_from_outside_is_no_operation() {
        let text = "
            mod a { pub struct Hidden; impl Hidden { pub fn go(&self) {} } pub fn free() {} }
            pub struct Shown; impl Shown { pub(crate) fn inner(&self) {} }
            #[cfg(test)] pub mod tests { pub fn run() {} }
            #[cfg(all(test, loom))] impl Shown { pub fn model(&self) {} }";
        assert!(paths(text).is_empty(), "{:?}", paths(text));
    }

    #[test]
    fn a_traits_methods_count_wherever_the_block_stands() {
        let text = "
            pub mod pipe { pub struct Writer; }
            mod io { use crate::pipe::Writer; impl std::io::Write for Writer { fn write() {} } }
            impl From<u8> for std::io::Writer { fn from(n: u8) -> Self { act() } }
            pub use kinds::*; mod kinds { pub trait Go { fn must(); fn may() { act() } } }";
        assert_eq!(paths(text), ["c::Go::may", "c::pipe::Writer::write"]);
    }

    #[test]
    fn of_two_systems_forms_the_one_that_is_built_counts() {
        let text = "
            pub use imp::*;
            #[cfg(not(loom))] mod imp { pub fn wait() { a() } }
            #[cfg(loom)] mod imp { pub fn model() { a() } }";
        assert_eq!(paths(text), ["c::wait"]);
    }
}

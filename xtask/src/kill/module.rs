//! The modules of a crate as its sources spell them: definitions, `use` lines, `impl` blocks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

use super::still::is_still;
use crate::error::{Error, Result};

/// A path within a crate; the root is empty.
pub type Place = Vec<String>;

/// A crate's modules, by place.
#[derive(Debug, Default)]
pub struct Modules {
    /// Each module; the root stands at the empty place.
    pub all: BTreeMap<Place, Module>,
}

/// What one module holds.
#[derive(Debug, Default)]
pub struct Module {
    /// Types, traits, functions and modules: which are `pub`.
    pub names: BTreeMap<String, Definition>,
    /// What is brought in: as which name, from where.
    pub uses: Vec<Use>,
    /// `impl` blocks: the type's path as written, and the functions.
    pub impls: Vec<(Vec<String>, Vec<Function>)>,
}

/// Something with a name.
#[derive(Debug)]
pub struct Definition {
    /// Whether it says `pub`, without a limit.
    pub is_public: bool,
    /// Functions that come with it: itself, or a trait's provided ones.
    pub functions: Vec<Function>,
    /// Whether it is a module.
    pub is_module: bool,
}

/// One `use`, without braces.
#[derive(Debug)]
pub struct Use {
    /// The local name; `*` for a glob.
    pub name: String,
    /// The path as written, the name included (a glob's without the star).
    pub from: Vec<String>,
    /// Whether it says `pub`.
    pub is_public: bool,
}

/// A function or method that a caller outside could reach, if its type can be reached.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub file: PathBuf,
    /// The line of its name, from 1.
    pub line: usize,
    /// Whether it can be seen to write nothing: see [`is_still`].
    pub is_still: bool,
}

impl Modules {
    /// Reads a crate from the file of its root.
    pub fn load(root: &Path) -> Result<Self> {
        let mut modules = Self::default();
        modules.read_file(Vec::new(), root)?;
        Ok(modules)
    }

    /// Reads a crate that is one text: for tests.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        let mut modules = Self::default();
        let file = syn::parse_file(text).expect("the snippet parses");
        modules.add(Vec::new(), Path::new("src/lib.rs"), &file.items).expect("one file");
        modules
    }

    fn read_file(&mut self, place: Place, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        let file = syn::parse_file(&text)
            .map_err(|error| Error::Output(format!("{}: {error}", path.display())))?;
        self.add(place, path, &file.items)
    }

    fn add(&mut self, place: Place, file: &Path, items: &[Item]) -> Result<()> {
        let mut module = Module::default();
        for item in items {
            module.add(item, file);
        }
        self.all.entry(place.clone()).or_default().merge(module);
        for item in items {
            let Item::Mod(inner) = item else { continue };
            if is_left_out(&inner.attrs) {
                continue;
            }
            let name = inner.ident.to_string();
            let mut below = place.clone();
            below.push(name.clone());
            match &inner.content {
                Some((_, items)) => self.add(below, file, items)?,
                None => self.read_file(below, &file_of(&place, file, &name))?,
            }
        }
        Ok(())
    }
}

/// The file of `mod name;` in `file`, which holds the module at `place`.
fn file_of(place: &[String], file: &Path, name: &str) -> PathBuf {
    let is_root = place.is_empty() || file.ends_with("mod.rs");
    let folder = if is_root { file.with_file_name("") } else { file.with_extension("") };
    let flat = folder.join(format!("{name}.rs"));
    if flat.is_file() { flat } else { folder.join(name).join("mod.rs") }
}

impl Module {
    fn merge(&mut self, other: Module) {
        self.names.extend(other.names);
        self.uses.extend(other.uses);
        self.impls.extend(other.impls);
    }

    fn add(&mut self, item: &Item, file: &Path) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_left_out(attributes) {
            return;
        }
        match item {
            Item::Fn(item) => {
                let is_still = is_still(&item.sig, &item.block);
                let function = Function::new(&item.sig, is_still, file);
                self.define(&item.sig.ident, &item.vis, vec![function], false);
            }
            Item::Mod(item) => self.define(&item.ident, &item.vis, Vec::new(), true),
            Item::Struct(item) => self.define(&item.ident, &item.vis, Vec::new(), false),
            Item::Enum(item) => self.define(&item.ident, &item.vis, Vec::new(), false),
            Item::Union(item) => self.define(&item.ident, &item.vis, Vec::new(), false),
            Item::Type(item) => self.define(&item.ident, &item.vis, Vec::new(), false),
            Item::Trait(item) => {
                let provided = item.items.iter().filter_map(|item| match item {
                    syn::TraitItem::Fn(item) => item
                        .default
                        .as_ref()
                        .map(|block| Function::new(&item.sig, is_still(&item.sig, block), file)),
                    _ => None,
                });
                self.define(&item.ident, &item.vis, provided.collect(), false);
            }
            Item::Impl(item) => self.implement(item, file),
            Item::Use(item) => {
                let is_public = is_public(&item.vis);
                spread(&item.tree, &mut Vec::new(), is_public, &mut self.uses);
            }
            _ => {}
        }
    }

    fn define(
        &mut self,
        name: &syn::Ident,
        visibility: &Visibility,
        functions: Vec<Function>,
        is_module: bool,
    ) {
        let definition = Definition { is_public: is_public(visibility), functions, is_module };
        self.names.insert(name.to_string(), definition);
    }

    /// Takes the `pub` methods of an inherent block, and all of a trait's block.
    fn implement(&mut self, item: &syn::ItemImpl, file: &Path) {
        let syn::Type::Path(target) = &*item.self_ty else { return };
        let name = target.path.segments.iter().map(|word| word.ident.to_string()).collect();
        let is_trait = item.trait_.is_some();
        let functions = item.items.iter().filter_map(|item| match item {
            ImplItem::Fn(item) if !is_left_out(&item.attrs) => (is_trait || is_public(&item.vis))
                .then(|| Function::new(&item.sig, is_still(&item.sig, &item.block), file)),
            _ => None,
        });
        self.impls.push((name, functions.collect()));
    }
}

impl Function {
    fn new(signature: &syn::Signature, is_still: bool, file: &Path) -> Self {
        let line = signature.ident.span().start().line;
        Self { name: signature.ident.to_string(), file: file.into(), line, is_still }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether the item is there for tests or for the model checker only.
fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let text = list.tokens.to_string().replace(' ', "");
        let is_named = text.contains("test") || text.contains("loom");
        list.path.is_ident("cfg") && is_named && !text.contains("not(")
    })
}

/// Takes the braces of a `use` apart.
fn spread(tree: &UseTree, path: &mut Vec<String>, is_public: bool, uses: &mut Vec<Use>) {
    let mut add = |name: String, last: Option<String>| {
        let from = path.iter().cloned().chain(last).collect();
        uses.push(Use { name, from, is_public });
    };
    match tree {
        UseTree::Name(tree) => add(tree.ident.to_string(), Some(tree.ident.to_string())),
        UseTree::Rename(tree) => add(tree.rename.to_string(), Some(tree.ident.to_string())),
        UseTree::Glob(_) => add("*".into(), None),
        UseTree::Path(tree) => {
            path.push(tree.ident.to_string());
            spread(&tree.tree, path, is_public, uses);
            path.pop();
        }
        UseTree::Group(tree) => {
            tree.items.iter().for_each(|tree| spread(tree, path, is_public, uses));
        }
    }
}

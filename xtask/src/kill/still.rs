//! Which functions can be seen to write no shared memory.
//!
//! Atomic writes, system calls and everything that leads to them are calls, and a plain store
//! through a reference or a pointer is an assignment. So a body without a call and without an
//! assignment writes nothing; and a `const fn` cannot call any of those, since no writing method of
//! an atomic is one. Who is given `self` by value may drop it, and a drop may write. (An operator
//! that somebody overloads so that it writes would not be seen.)

use syn::visit::{self, Visit};

/// Whether the function writes nothing that another process could see.
pub fn is_still(signature: &syn::Signature, body: &syn::Block) -> bool {
    let mut acts = Acts(false);
    acts.visit_block(body);
    let drops = signature
        .receiver()
        .is_some_and(|this| !matches!(this.kind, syn::ReceiverKind::Reference(..)));
    (!acts.0 && !drops) || (signature.constness.is_some() && !has_unsafe(body))
}

/// What a body does: `true` once something was seen that may write.
struct Acts(bool);

impl<'ast> Visit<'ast> for Acts {
    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        use syn::Expr::{Assign, Async, Await, Call, MethodCall, Unsafe, Yield};
        let compares = |op: &syn::BinOp| {
            use syn::BinOp::{AddAssign, BitAndAssign, BitOrAssign, BitXorAssign, DivAssign};
            use syn::BinOp::{MulAssign, RemAssign, ShlAssign, ShrAssign, SubAssign};
            !matches!(
                op,
                AddAssign(_)
                    | SubAssign(_)
                    | MulAssign(_)
                    | DivAssign(_)
                    | RemAssign(_)
                    | BitAndAssign(_)
                    | BitOrAssign(_)
                    | BitXorAssign(_)
                    | ShlAssign(_)
                    | ShrAssign(_)
            )
        };
        self.0 |= match expression {
            Assign(_) | Async(_) | Await(_) | MethodCall(_) | Unsafe(_) | Yield(_) => true,
            syn::Expr::Binary(binary) => !compares(&binary.op),
            // `Some(value)`, `Ok(value)` and other constructors by their capital.
            Call(call) => !builds(&call.func),
            _ => false,
        };
        visit::visit_expr(self, expression);
    }

    fn visit_macro(&mut self, _: &'ast syn::Macro) {
        self.0 = true;
    }
}

/// Whether what is called is a tuple constructor.
fn builds(function: &syn::Expr) -> bool {
    let syn::Expr::Path(path) = function else { return false };
    let last = path.path.segments.last().map(|last| last.ident.to_string());
    last.is_some_and(|name| name.starts_with(char::is_uppercase))
}

fn has_unsafe(body: &syn::Block) -> bool {
    struct Unsafe(bool);
    impl<'ast> Visit<'ast> for Unsafe {
        fn visit_expr_unsafe(&mut self, _: &'ast syn::ExprUnsafe) {
            self.0 = true;
        }
    }
    let mut found = Unsafe(false);
    found.visit_block(body);
    found.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn still(text: &str) -> bool {
        let function: syn::ItemFn = syn::parse_str(text).unwrap();
        is_still(&function.sig, &function.block)
    }

    #[test]
    fn a_field_read_and_a_constructor_write_nothing() {
        assert!(still("pub fn len(&self) -> usize { self.inner.len }"));
        assert!(still("pub fn first(&self) -> Option<u32> { Some(self.word + 1) }"));
        assert!(still("pub const fn new(value: u32) -> Self { Self(Atomic::new(value)) }"));
    }

    #[test]
    fn a_call_an_assignment_and_a_macro_may_write() {
        assert!(!still("pub fn len(&self) -> usize { self.inner.len() }"));
        assert!(!still("pub fn set(&mut self, n: u32) { self.word = n }"));
        assert!(!still("pub fn more(&mut self) { self.word += 1 }"));
        assert!(!still("pub fn detach(self) {}"), "its drop may write");
        assert!(!still("pub fn ring(&self) { wake(self.word) }"));
        assert!(!still("pub fn show(&self) { ring!(self) }"));
        assert!(!still("pub const fn put(at: *mut u32) { unsafe { *at = 1 } }"));
    }
}

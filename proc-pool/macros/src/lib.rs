//! The attribute macros of `proc-pool`; use them through that crate.

mod actor;

use proc_macro::TokenStream;
use proc_macro2::Span;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, LitStr, Result, ReturnType, Type, parse_macro_input};

/// Makes a function a task: callable as before, and by a pool in another process.
///
/// `#[task(pure)]` says that it may run again when its worker dies: that running it twice is as
/// good as once.
///
/// Parameters and result are owned serde values. Each parameter has a plain name. The task's name
/// stands for a value of a unit type, which is what pools take. So, where a task is in scope, no
/// local variable can have its name.
#[proc_macro_attribute]
pub fn task(attr: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let result = parse_pure(attr.into()).and_then(|pure| expand_task(&function, pure));
    result.unwrap_or_else(Error::into_compile_error).into()
}

fn parse_pure(attr: proc_macro2::TokenStream) -> Result<bool> {
    if attr.is_empty() {
        return Ok(false);
    }
    let word: syn::Ident = syn::parse2(attr)?;
    if word == "pure" {
        return Ok(true);
    }
    Err(Error::new(
        word.span(),
        "expected nothing, or `pure`: the task may run again when its worker dies",
    ))
}

fn expand_task(function: &ItemFn, pure: bool) -> Result<proc_macro2::TokenStream> {
    let signature = &function.sig;
    refuse(
        signature.asyncness.map(|a| a.span()),
        "a task cannot be async: a worker runs one task at a time; make it a plain function",
    )?;
    refuse(
        match &signature.safety {
            syn::Safety::Default => None,
            other => Some(other.span()),
        },
        "a task cannot be unsafe: a pool could not keep its promises; make a safe function that states them",
    )?;
    refuse(
        signature.generics.params.first().map(Spanned::span),
        "a task cannot be generic: parent and worker must agree on one function; write one task for each type",
    )?;
    refuse(
        signature.generics.where_clause.as_ref().map(Spanned::span),
        "a task cannot have a where clause",
    )?;
    refuse(signature.variadic.as_ref().map(Spanned::span), "a task cannot be variadic")?;
    let (names, types) = parameters(function)?;
    let output = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => {
            refuse_borrowed(ty)?;
            quote!(#ty)
        }
    };
    let (attrs, vis, ident, block) =
        (&function.attrs, &function.vis, &signature.ident, &function.block);
    let input = match types.as_slice() {
        [one] => quote!(#one),
        many => quote!((#(#many),*)),
    };
    let pattern = match names.as_slice() {
        [one] => quote!(#one),
        many => quote!((#(#many),*)),
    };
    let inputs = &signature.inputs;
    // Of several parameters the compiler would name the tuple.
    let each_crosses = if types.len() < 2 {
        quote!()
    } else {
        quote! {
            const _: fn() = || {
                fn crosses<T: ::proc_pool::Transfer>() {}
                #(crosses::<#types>();)*
            };
        }
    };
    let text = LitStr::new(&format!("({}) -> {output}", quote!(#(#types),*)), Span::call_site());
    let name = ident.to_string();
    Ok(quote! {
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis struct #ident;

        const _: () = {
            fn __proc_pool_call(#inputs) -> #output #block

            impl ::proc_pool::Task for #ident {
                type Input = #input;
                type Output = #output;
                const NAME: &'static str =
                    ::core::concat!(::core::module_path!(), "::", #name);
                const ID: ::proc_pool::TaskId = ::proc_pool::TaskId::of(::core::concat!(
                    ::core::env!("CARGO_PKG_NAME"), " ", ::core::env!("CARGO_PKG_VERSION"), " ",
                    ::core::module_path!(), "::", #name, #text,
                ));
                const PURE: bool = #pure;

                fn call(#pattern: Self::Input) -> Self::Output {
                    __proc_pool_call(#(#names),*)
                }
            }

            #each_crosses

            // A task is called like the function it was.
            impl ::core::ops::Deref for #ident {
                type Target = fn(#(#types),*) -> #output;

                fn deref(&self) -> &Self::Target {
                    const CALL: fn(#(#types),*) -> #output = __proc_pool_call;
                    &CALL
                }
            }

            #[::proc_pool::__private::linkme::distributed_slice(::proc_pool::__private::LINKED)]
            #[linkme(crate = ::proc_pool::__private::linkme)]
            static __PROC_POOL_ENTRY: ::proc_pool::__private::TaskEntry =
                ::proc_pool::__private::TaskEntry::of::<#ident>();
        };
    })
}

fn parameters(function: &ItemFn) -> Result<(Vec<syn::Ident>, Vec<Type>)> {
    let mut names = Vec::new();
    let mut types = Vec::new();
    for (index, argument) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(argument) = argument else {
            return Err(Error::new(
                argument.span(),
                "a task cannot be a method: `self` would have to cross; pass the data as an argument",
            ));
        };
        refuse_borrowed(&argument.ty)?;
        names.push(syn::Ident::new(&format!("argument_{index}"), Span::mixed_site()));
        types.push((*argument.ty).clone());
    }
    Ok((names, types))
}

fn refuse_borrowed(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(_) => Err(Error::new(
            ty.span(),
            "a task cannot borrow: a reference means nothing in another process; take the value itself, or a `shm_core::Frozen` to share it without a copy",
        )),
        Type::ImplTrait(_) => Err(Error::new(
            ty.span(),
            "a task needs named types: parent and worker must agree on them",
        )),
        _ => Ok(()),
    }
}

fn refuse(found: Option<Span>, message: &str) -> Result<()> {
    match found {
        Some(span) => Err(Error::new(span, message)),
        None => Ok(()),
    }
}

/// Makes a type an actor: its values live in processes of their own, behind typed handles.
///
/// It goes on the type's `impl` block, which stays as it is. `new` is the constructor: it returns
/// `Self` or a `Result<Self, E>` and runs in the actor's process; its arguments are serde values.
/// Every `pub` method with `&self` or `&mut self` can be called from outside. For a type `Counter`
/// there are then:
///
/// - `Counter::spawn(…)`, `Counter::spawn_with(options, …)`: one, as a `CounterHandle`;
/// - `Counter::spawn_group(options, size, …)`: several, as a `CounterGroup`;
/// - on the handle each method with the same arguments, giving a `TaskHandle`; on the group each
///   method for all of them, giving `Calls`, if the arguments can be cloned.
///
/// `#[pure]` on a method says that the call may be made again, to the state as constructed, when
/// the actor's process dies and is restarted.
///
/// See `proc_pool::Actor` for an example.
#[proc_macro_attribute]
pub fn actor(attr: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    if !attr.is_empty() {
        let message = "#[proc_pool::actor] takes no arguments";
        return Error::new(Span::call_site(), message).into_compile_error().into();
    }
    actor::expand(block).unwrap_or_else(Error::into_compile_error).into()
}

/// Makes the program able to start workers: `main` begins with `proc_pool::init()`.
#[proc_macro_attribute]
pub fn main(_attr: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let (attrs, vis, signature, block) =
        (&function.attrs, &function.vis, &function.sig, &function.block);
    if !signature.inputs.is_empty() || signature.asyncness.is_some() {
        let message = "#[proc_pool::main] goes on `fn main()`; with an async runtime call proc_pool::init() first and start the runtime after it";
        return Error::new(signature.span(), message).into_compile_error().into();
    }
    quote! {
        #(#attrs)*
        #vis #signature {
            ::proc_pool::init();
            #block
        }
    }
    .into()
}

/// A `#[test]` that can start pools: the workers are this test program, told to run this test,
/// which turns into a worker at its first line.
///
/// What tasks print on standard output is not shown; standard error is.
#[proc_macro_attribute]
pub fn test(_attr: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let (attrs, vis, signature, block) =
        (&function.attrs, &function.vis, &function.sig, &function.block);
    let name = signature.ident.to_string();
    quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis #signature {
            ::proc_pool::__private::init_test(::core::concat!(::core::module_path!(), "::", #name));
            #block
        }
    }
    .into()
}
